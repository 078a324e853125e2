"""What a worker tells its next broker of what it has received, against a broker that breaks streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb
from dibs.worker.connector.events import EventName
from dibs.worker.connector.stream import WorkStream

from ..support.workers import Gate, Job, working


class Breaking(broker_pb2_grpc.BrokerServiceServicer):
    """Deals one batch, breaks the stream, and takes whatever the next one says.

    Args:
        items: the batch.
        receipt: break only when it has been received.
    """

    def __init__(self, items: list[tpb.Delivery], *, receipt: bool) -> None:
        self.hellos: asyncio.Queue[pb.WorkHello] = asyncio.Queue()
        self._broken = False
        self.said: asyncio.Queue[pb.WorkRequest] = asyncio.Queue()
        self._items = items
        self._receipt = receipt

    async def Work(self, requests: AsyncIterator[pb.WorkRequest], context: Any) -> AsyncIterator[pb.WorkResponse]:
        first = await anext(requests)
        self.hellos.put_nowait(first.hello)
        if not self._broken:
            self._broken = True
            while not (await anext(requests)).add_credit:
                pass
            yield pb.WorkResponse(batch=1, deliveries=self._items)
            while self._receipt and (await anext(requests)).received_batch < 1:
                pass
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        async for request in requests:
            self.said.put_nowait(request)
            if request.sequence:
                yield pb.WorkResponse(done_sequence=request.sequence)


def delivery(id: str, token: int, lease_s: int = 30) -> tpb.Delivery:
    content = tpb.Content(task_name="task", payload=b"{}")
    return tpb.Delivery(id=id, lease_token=token, content=content, lease_timeout=Duration(seconds=lease_s))


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    servers = []

    async def start(service: Breaking) -> str:
        server = grpc.aio.server()
        broker_pb2_grpc.add_BrokerServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(None)


async def test_the_next_stream_says_what_was_received_on_the_last_one_and_is_still_here(serve: Any) -> None:
    gate = Gate()
    items = [delivery("a", 5), delivery("b", 6), delivery("once", 0, lease_s=0), delivery("kept", 7, lease_s=0)]
    broker = Breaking(items, receipt=True)  # type: ignore[abstract]
    async with working(await serve(broker), {"task": Job("task", gate)}, stale_after=60) as worker:
        await gate.begun()
        await worker.until(EventName.CONNECTED, 2)
        first, second = [await asyncio.wait_for(broker.hellos.get(), 10) for _ in range(2)]
        assert list(first.received_tokens) == []
        assert sorted(second.received_tokens) == [5, 6, 7]
        gate.open()
        acked: set[str] = set()
        async with asyncio.timeout(10):
            while acked != {"a", "b", "kept"}:
                acked |= {ack.id for ack in (await broker.said.get()).acks}
    assert gate.calls == 4


async def test_a_token_that_many_items_share_is_said_once(serve: Any) -> None:
    gate = Gate()
    broker = Breaking([*(delivery(f"a{n}", 5) for n in range(50)), delivery("b", 6)], receipt=True)  # type: ignore[abstract]
    async with working(await serve(broker), {"task": Job("task", gate)}, stale_after=60) as worker:
        await worker.until(EventName.CONNECTED, 2)
        _, second = [await asyncio.wait_for(broker.hellos.get(), 10) for _ in range(2)]
        assert sorted(second.received_tokens) == [5, 6]
        gate.open()


async def test_what_was_not_receipted_goes_back_and_runs_only_if_nobody_else_may(serve: Any) -> None:
    gate = Gate()
    gate.open()
    items = [delivery("a", 5), delivery("once", 0, lease_s=0), delivery("kept", 7, lease_s=0)]
    broker = Breaking(items, receipt=False)  # type: ignore[abstract]
    async with working(await serve(broker), {"task": Job("task", gate)}) as worker:
        said: dict[str, str] = {}
        async with asyncio.timeout(10):
            while set(said) != {"a", "kept"}:
                request = await broker.said.get()
                said |= {ack.id: "ack" for ack in request.acks}
                said |= {nack.id: pb.NackReason.Name(nack.reason) for nack in request.nacks}
        await worker.until(EventName.FINISHED, 2)
    # Whether the receipt went out before the stream broke is a matter of chance.
    assert said in ({"a": "NACK_REASON_RELEASED", "kept": "ack"}, {"a": "ack", "kept": "ack"})
    assert gate.calls == 2 + (said["a"] == "ack")


async def test_a_fault_of_the_writer_ends_the_worker(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: WorkStream) -> bytes | None:
        raise LookupError("a fault of the worker")

    monkeypatch.setattr(WorkStream, "_compose", breaks)
    broker = Breaking([], receipt=False)  # type: ignore[abstract]
    async with working(await serve(broker), {"task": Job("task", print)}) as worker:
        with pytest.raises(LookupError, match="a fault of the worker"):
            async with asyncio.timeout(10):
                await worker.run
