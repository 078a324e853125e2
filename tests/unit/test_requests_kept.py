"""What the reading of requests remembers."""

from __future__ import annotations

import tracemalloc

import pytest

from dibs.broker.border.errors import InvalidField
from dibs.broker.config.limits import Limits
from dibs.broker.messages.enqueue import read_enqueue
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

LIMITS = Limits()


def test_a_refused_request_leaves_nothing_behind() -> None:
    def refuse(number: int) -> None:
        headers = {"a": f"{number:08d}" + "x" * 1_000_000}
        item = pb.EnqueueItem(queue="q", kind=tpb.QUEUE_KIND_TASK, content=tpb.Content(task_name="t", headers=headers))
        named = pb.EnqueueItem(queue=f"{number:08d}" + "x" * 1_000_000, kind=tpb.QUEUE_KIND_DATA)
        for one in (item, named):
            with pytest.raises(InvalidField):
                read_enqueue(pb.EnqueueRequest(items=[one]), LIMITS)

    refuse(0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1, 21):
            refuse(number)
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 500_000


def test_terms_that_are_long_are_read_anew_each_time() -> None:
    limits = Limits(max_task_name_length=4096)
    items = [
        pb.EnqueueItem(queue="q", kind=tpb.QUEUE_KIND_TASK, content=tpb.Content(task_name=f"{n:04d}" + "x" * 4000))
        for n in range(300)
    ]
    tracemalloc.start()
    try:
        read_enqueue(pb.EnqueueRequest(items=items), limits)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 300 * 4000 / 2
