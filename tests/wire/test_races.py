"""What callers of two brokers do to one item at the same moment: it comes to one end, and each was told the truth.

A thousand rounds each, fifty side by side. Who is faster is chance; that every order has come up is checked, too.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar, cast

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.services import Services
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support import redis as redis_support
from .conftest import Stub

T = TypeVar("T")

ROUNDS = 1_000
SIDE_BY_SIDE = 50
#: Long enough that nothing runs out by itself.
LONG_S = 60.0
#: Runs out while its ack is on its way, or shortly before or after.
SHORT_S = 0.02

WAVES = [[f"i{wave}-{n}" for n in range(SIDE_BY_SIDE)] for wave in range(ROUNDS // SIDE_BY_SIDE)]
OK, LOST = tpb.OUTCOME_OK, {tpb.OUTCOME_NOT_FOUND, tpb.OUTCOME_LEASE_EXPIRED, tpb.OUTCOME_LEASE_SUPERSEDED}


@dataclass
class Scene:
    """Two brokers."""

    one: Stub
    two: Stub

    async def put(self, ids: Sequence[str], *, lease_s: float = LONG_S, attempts: int = 3) -> None:
        await self.one.Enqueue(pb.EnqueueRequest(items=[new(id, lease_s, attempts) for id in ids]))

    async def take(self, count: int) -> list[tpb.Delivery]:
        """Leases that many items, which must be there."""
        request = pb.LeaseRequest(
            kind=tpb.QUEUE_KIND_TASK, max_items=count, follow=True, get_timeout=Duration(seconds=10)
        )
        return [delivery async for reply in self.one.Lease(request) for delivery in reply.deliveries]

    async def ended(self, ids: Sequence[str]) -> dict[str, pb.ItemResult]:
        """How each has ended, which is the same on both brokers."""
        request = pb.ResultRequest(ids=ids, until=pb.WAIT_UNTIL_DONE, timeout=Duration(seconds=20))
        one, two = await asyncio.gather(self.one.Result(request), self.two.Result(request))
        assert one == two
        return {found.id: found for found in one.results}


@pytest.fixture(scope="module")
def server(redis_programs: dict[int, str]) -> Iterator[redis_support.RedisServer]:
    with redis_support.running(redis_programs[max(redis_programs)]) as server:
        yield server


@pytest.fixture
async def scene(server: redis_support.RedisServer) -> AsyncIterator[Scene]:
    server.flush()
    async with AsyncExitStack() as stack:
        yield Scene(*[await start_broker(stack, server.url) for _ in range(2)])


async def start_broker(stack: AsyncExitStack, redis_url: str) -> Stub:
    engine = Engine(EngineConfig(redis_url))
    stack.push_async_callback(engine.close)
    await engine.start()
    services = Services(engine, Limits(), Drain())
    stack.push_async_callback(services.close)
    server = grpc.aio.server()
    services.register(server)
    services.start()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stack.push_async_callback(server.stop, 1)
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
    return cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel))


def new(id: str, lease_s: float, attempts: int = 3) -> pb.EnqueueItem:
    policy = tpb.DeliveryPolicy(attempts=attempts, result_ttl=Duration(seconds=600))
    policy.lease_timeout.FromMicroseconds(round(lease_s * 1e6))
    # What failed comes again at once.
    policy.retry.initial_delay.FromMicroseconds(0)
    content = tpb.Content(task_name="task", payload=b"{}")
    return pb.EnqueueItem(id=id, queue="q", kind=tpb.QUEUE_KIND_TASK, content=content, policy=policy)


async def at_once(calls: Sequence[Awaitable[T]]) -> list[T]:
    """What the calls came to, in their order; they begin in any."""
    tasks: dict[int, asyncio.Future[T]] = {}
    for number in random.sample(range(len(calls)), len(calls)):
        tasks[number] = asyncio.ensure_future(calls[number])
    await asyncio.gather(*tasks.values())
    return [tasks[number].result() for number in range(len(calls))]


async def cancel(stub: Stub, id: str) -> pb.CancelOutcome.ValueType:
    return (await stub.Cancel(pb.CancelRequest(ids=[id]))).items[0].outcome


async def ack(stub: Stub, delivery: tpb.Delivery, result: bytes = b"null") -> tpb.Outcome.ValueType:
    entry = pb.AckEntry(id=delivery.id, lease_token=delivery.lease_token, result=result)
    return (await stub.Ack(pb.AckRequest(entries=[entry]))).outcomes[0].outcome


async def stop(stub: Stub, delivery: tpb.Delivery) -> tpb.Outcome.ValueType:
    """What a worker says of a task that it has stopped because it was cancelled."""
    entry = pb.NackEntry(id=delivery.id, lease_token=delivery.lease_token, reason=pb.NACK_REASON_CANCELLED)
    return (await stub.Nack(pb.NackRequest(entries=[entry]))).outcomes[0].outcome


async def lease_one(stub: Stub) -> list[tpb.Delivery]:
    request = pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, max_items=1)
    return [delivery async for reply in stub.Lease(request) for delivery in reply.deliveries]


@pytest.mark.parametrize("lease_s", [0, LONG_S], ids=["at most once", "at least once"])
async def test_cancel_against_start(scene: Scene, lease_s: float) -> None:
    told: Counter[str] = Counter()
    for ids in WAVES:
        await scene.put(ids, lease_s=lease_s)
        outcomes, started = await asyncio.gather(
            at_once([cancel(scene.one, id) for id in ids]),
            at_once([lease_one(scene.two) for _ in ids]),
        )
        running = {delivery.id: delivery for found in started for delivery in found}
        assert len(running) == sum(len(found) for found in started)
        for id, outcome in zip(ids, outcomes, strict=True):
            told[pb.CancelOutcome.Name(outcome)] += 1
            assert outcome == (pb.CANCEL_OUTCOME_REQUESTED if id in running else pb.CANCEL_OUTCOME_REMOVED)
        # One half stops when it hears of it, the other is through by then.
        finished = [id for number, id in enumerate(running) if number % 2]
        settled = await at_once(
            [(ack if id in finished else stop)(scene.one, delivery) for id, delivery in running.items()]
        )
        assert set(settled) <= {OK}
        for id, found in (await scene.ended(ids)).items():
            assert found.state == (tpb.ITEM_STATE_SUCCEEDED if id in finished else tpb.ITEM_STATE_CANCELLED)
    assert set(told) == {"CANCEL_OUTCOME_REMOVED", "CANCEL_OUTCOME_REQUESTED"}


async def test_ack_against_expiry(scene: Scene) -> None:
    told: Counter[bool] = Counter()

    async def ack_soon(stub: Stub, delivery: tpb.Delivery) -> tpb.Outcome.ValueType:
        await asyncio.sleep(random.uniform(0, 2 * SHORT_S))
        return await ack(stub, delivery)

    for ids in WAVES:
        await scene.put(ids, lease_s=SHORT_S, attempts=1)
        deliveries = await scene.take(len(ids))
        outcomes = await at_once(
            [ack_soon((scene.one, scene.two)[number % 2], delivery) for number, delivery in enumerate(deliveries)]
        )
        ended = await scene.ended(ids)
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            told[outcome == OK] += 1
            assert outcome == OK or outcome in LOST
            expected = tpb.ITEM_STATE_SUCCEEDED if outcome == OK else tpb.ITEM_STATE_FAILED
            assert ended[delivery.id].state == expected
    assert set(told) == {True, False}


async def test_retry_against_cancel(scene: Scene) -> None:
    told: Counter[bool] = Counter()

    async def retry(stub: Stub, delivery: tpb.Delivery) -> pb.EnqueueOutcome.ValueType:
        item = new(delivery.id, LONG_S, 2)
        item.on_conflict, item.lease_token = pb.ON_CONFLICT_REPLACE, delivery.lease_token
        return (await stub.Enqueue(pb.EnqueueRequest(items=[item]))).items[0].outcome

    for ids in WAVES:
        await scene.put(ids)
        deliveries = await scene.take(len(ids))
        retried, cancelled = await asyncio.gather(
            at_once([retry(scene.one, delivery) for delivery in deliveries]),
            at_once([cancel(scene.two, delivery.id) for delivery in deliveries]),
        )
        stopped = await at_once([stop(scene.one, delivery) for delivery in deliveries])
        for outcomes in zip(retried, cancelled, stopped, strict=True):
            first = outcomes[0] == pb.ENQUEUE_OUTCOME_REPLACED
            told[first] += 1
            if first:
                # The next attempt was there, and has been removed before anybody got it.
                assert outcomes[1] == pb.CANCEL_OUTCOME_REMOVED
                assert outcomes[2] in LOST
            else:
                assert outcomes == (pb.ENQUEUE_OUTCOME_CONFLICT, pb.CANCEL_OUTCOME_REQUESTED, OK)
        assert {found.state for found in (await scene.ended(ids)).values()} == {tpb.ITEM_STATE_CANCELLED}
        assert await lease_one(scene.one) == []
    assert set(told) == {True, False}


async def test_redelivery_against_a_late_ack(scene: Scene) -> None:
    won: Counter[bytes] = Counter()

    async def ack_late(delivery: tpb.Delivery) -> tpb.Outcome.ValueType:
        await asyncio.sleep(random.uniform(0, 2 * SHORT_S))
        return await ack(scene.one, delivery, b'"first"')

    async def work() -> dict[str, tpb.Outcome.ValueType]:
        """What a second worker, on the other broker, was told of what it got again."""
        request = pb.LeaseRequest(
            kind=tpb.QUEUE_KIND_TASK, max_items=ROUNDS, follow=True, lease_timeout=Duration(seconds=60)
        )
        told: dict[str, tpb.Outcome.ValueType] = {}
        try:
            async for reply in scene.two.Lease(request):
                for delivery in reply.deliveries:
                    assert (delivery.attempt, delivery.id in told) == (2, False)
                    told[delivery.id] = await ack(scene.two, delivery, b'"second"')
        except asyncio.CancelledError:
            pass
        return told

    for ids in WAVES:
        await scene.put(ids, lease_s=SHORT_S)
        deliveries = await scene.take(len(ids))
        second = asyncio.create_task(work())
        outcomes = await at_once([ack_late(delivery) for delivery in deliveries])
        ended = await scene.ended(ids)
        second.cancel()
        again = await second
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            found = ended[delivery.id]
            assert found.state == tpb.ITEM_STATE_SUCCEEDED
            # Exactly one was told that it has finished the item, and the result is that one's.
            if outcome == OK:
                assert (delivery.id in again, found.result, found.attempt) == (False, b'"first"', 1)
            else:
                assert outcome in LOST
                assert (again[delivery.id], found.result, found.attempt) == (OK, b'"second"', 2)
            won[found.result] += 1
    assert len(won) == 2
