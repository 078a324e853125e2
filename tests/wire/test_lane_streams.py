"""Two streams that know different tasks of the same queue, as the lanes of one worker do."""

from __future__ import annotations

import asyncio

import pytest

from dibs.broker.engine.peers import Peers
from dibs.broker.leasing import unknown_tasks
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .conftest import Stub, item
from .streams import Worker, ids_of


def of_task(task: str, id: str) -> pb.EnqueueItem:
    one = item(id)
    one.content.CopyFrom(tpb.Content(task_name=task, payload=b"{}"))
    return one


async def test_each_gets_its_items_in_their_order_from_the_first_one_on(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A broker is careful until it has looked who else is there.
    monkeypatch.setattr(Peers, "current", property(lambda peers: True))
    # What it knows of earlier items is not what counts.
    monkeypatch.setattr(unknown_tasks, "_SIFT_S", 0.0)
    monkeypatch.setattr(unknown_tasks, "_FIRST_SIFT_S", 0.0)
    many = Worker(stub, task_names=["async"])
    one = Worker(stub, credit=2, task_names=["plain"])
    # Both are there when each has got something.
    for worker, task in ((many, "async"), (one, "plain")):
        await stub.Enqueue(pb.EnqueueRequest(items=[of_task(task, f"first-{task}")]))
        assert ids_of(await worker.items()) == [f"first-{task}"]
        worker.say(add_credit=1)
    mixed = [of_task(task, f"{task}{n:03}") for n in range(150) for task in ("async", "plain")]
    await stub.Enqueue(pb.EnqueueRequest(items=mixed))

    async def all_of(worker: Worker) -> list[str]:
        got: list[str] = []
        while len(got) < 150:
            some = ids_of(await worker.items())
            worker.say(add_credit=len(some))
            got += some
        return got

    assert list(await asyncio.gather(all_of(one), all_of(many))) == [
        [f"{task}{n:03}" for n in range(150)] for task in ("plain", "async")
    ]
