"""The part of a worker, played by a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dibs import Dibs
from dibs.rpc import operations
from dibs.rpc.codec import encode_json
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb


def take(app: Dibs, count: int = 1, queue: str = "default", *, wait: float = 10) -> list[tpb.Delivery]:
    """Leases that many tasks, waiting up to `wait` seconds for a first one."""
    lease = operations.lease(
        app.namespace, queue, tpb.QUEUE_KIND_TASK, max_items=count, lease_timeout=None, get_timeout=wait
    )
    deliveries = app.transport.run(lease)
    return list(deliveries)


def finish(app: Dibs, delivery: tpb.Delivery, value: Any) -> None:
    """The task has returned."""
    finish_all(app, [(delivery, value)])


def finish_all(app: Dibs, returned: Sequence[tuple[tpb.Delivery, Any]]) -> None:
    """Tasks have returned."""
    entries = [
        pb.AckEntry(id=delivery.id, lease_token=delivery.lease_token, result=encode_json(value))
        for delivery, value in returned
    ]
    assert app.transport.run(operations.ack(app.namespace, entries)) == len(entries)


def finish_in_bytes(app: Dibs, delivery: tpb.Delivery, result: bytes | None) -> None:
    """The task has returned that, as a worker in another language may send it; None: it sent nothing."""
    entry = pb.AckEntry(id=delivery.id, lease_token=delivery.lease_token, result=result)
    assert app.transport.run(operations.ack(app.namespace, [entry])) == 1


def fail(app: Dibs, delivery: tpb.Delivery, error: str) -> None:
    """The task has raised."""
    entry = pb.NackEntry(id=delivery.id, lease_token=delivery.lease_token, reason=pb.NACK_REASON_FAILED, error=error)
    assert app.transport.run(operations.nack(app.namespace, [entry])) == 1
