"""What another attempt of a call that waits asks for: to wait for what is left, not for all of it again."""

from __future__ import annotations

from typing import Any

import pytest

from dibs.rpc import admin_operations as admin
from dibs.rpc import operations
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import types_pb2 as tpb

KIND = tpb.QUEUE_KIND_DATA


def lease(wait: float) -> operations.Operation[Any]:
    return operations.lease("n", "q", KIND, max_items=1, lease_timeout=None, get_timeout=wait)


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        (operations.result("n", ["a"], until="done", timeout=50), "timeout"),
        (lease(50), "get_timeout"),
        (admin.take_dead_letters("n", "q", KIND, 1, 50, "r"), "get_timeout"),
        (admin.flush(apb.FlushRequest(), 50, None), "timeout"),
    ],
    ids=["result", "lease", "take", "flush"],
)
def test_another_attempt_waits_for_what_is_left(operation: operations.Operation[Any], field: str) -> None:
    def seconds(request: Any) -> float:
        return float(getattr(request, field).ToMicroseconds() / 1e6)

    assert operation.request_after(0) is operation.request
    assert seconds(operation.request_after(45.5)) == 4.5
    assert seconds(operation.request_after(60)) == 0
    assert seconds(operation.request) == 50


def test_a_call_that_does_not_wait_is_the_same_in_every_attempt() -> None:
    for operation in (operations.result("n", ["a"]), lease(0)):
        assert operation.request_after(45) is operation.request
