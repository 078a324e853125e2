"""Several engines on one Redis, as several brokers have them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Ack, Cancelled, Nack, NackReason, Outcome, Refresh, State, decode_record

from ..support.history import History
from .conftest import MakeEngine
from .helpers import KEPT, LEASED, NS, ONCE, PREFIX, TASKS, ack, ids_of, lease, lease_one, new, put


async def test_what_one_leased_another_finishes(engine: Engine, other: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    item = await lease_one(other)
    assert (await engine.refresh(NS, [Refresh("a", item.token)]))[0].outcome is Outcome.OK
    assert await ack(engine, item, b"result") is Outcome.OK
    assert (await other.lookup(NS, ["a"]))[0].result == b"result"


async def test_two_never_hold_one_item(engine: Engine, other: Engine) -> None:
    for n in range(300):
        await put(engine, *(f"i{n}-{m}" for m in range(5)), spec=ONCE if n % 2 else LEASED)
        shares = await asyncio.gather(lease(engine, 3), lease(other, 3), lease(engine, 1))
        taken = [id for share in shares for id in ids_of(share)]
        assert sorted(taken) == [f"i{n}-{m}" for m in range(5)]


async def test_an_item_that_everybody_settles_at_once_comes_to_one_end(engine: Engine, other: Engine) -> None:
    for n in range(200):
        id = f"i{n}"
        await put(engine, id, spec=KEPT._replace(attempts=1))
        item = await lease_one(engine)
        (acked,), (failed,), (cancelled,) = await asyncio.gather(
            engine.ack(NS, [Ack(id, item.token, b"result")]),
            other.nack(NS, [Nack(id, item.token, NackReason.FAILED, 0, "broken")]),
            engine.cancel(NS, [id]),
        )
        (status,) = await other.lookup(NS, [id])
        assert (acked is Outcome.OK) != (failed is Outcome.OK)
        if cancelled is Cancelled.RESULT_DROPPED:
            assert status.state is State.UNKNOWN
        elif acked is Outcome.OK:
            assert status.state is State.SUCCEEDED
        else:
            assert cancelled is Cancelled.REQUESTED
            assert status.state in (State.FAILED, State.CANCELLED)


async def test_a_crowd_works_everything_off_and_every_rule_holds(make_engine: MakeEngine, raw: redis.Redis) -> None:
    """Consumers on three engines that fail, give back, dawdle beyond their leases and repeat their acks."""
    engines = [await make_engine(poll_interval_s=0.05) for _ in range(3)]
    history = History(engines[0].config.once_retention_us)
    rng = random.Random(1)
    spec = KEPT._replace(attempts=3, lease_us=60_000, dead_queue="dead", retry=None)
    batches = [[new(f"i{n}-{m}", rng.choice((spec, ONCE)), body=b"%d" % m) for m in range(20)] for n in range(20)]
    left = {item.id for batch in batches for item in batch}
    for batch in batches:
        for item in batch:
            history.enqueued(item.id, item.body, attempts=3 if "dead" in item.spec else 1, due_us=0)

    async def produce(engine: Engine, number: int) -> None:
        for n in range(number, 20, 3):
            # Sent twice, as after a lost reply.
            await asyncio.gather(*(one.enqueue(NS, f"r{n}", batches[n]) for one in (engine, engines[0])))

    async def consume(engine: Engine, number: int) -> None:
        rng = random.Random(number)
        while left:
            reply = await engine.lease(NS, TASKS, rng.randint(1, 10))
            # All noted before anything else happens: by the time the last one's turn comes its lease may have run out,
            # and somebody else may have noted the next delivery of it.
            taken = []
            for item in reply.items:
                body = decode_record(item.record).body
                history.delivered(item.id, body, item.token, reply.now_us, lease_us=item.lease_us)
                taken.append((item, history.life(item.id).deliveries[-1]))
            for item, delivery in taken:
                if not item.token:
                    left.discard(item.id)
                    continue
                fate = rng.random()
                if fate < 0.6:
                    entry = Ack(item.id, item.token, b"result")
                    # Repeated through another engine, as after a lost reply.
                    (first,), (second,) = await asyncio.gather(engine.ack(NS, [entry]), engines[0].ack(NS, [entry]))
                    if Outcome.OK in (first, second):
                        assert {first, second} == {Outcome.OK, Outcome.NOT_FOUND}
                        history.ended(item.id, "done")
                        left.discard(item.id)
                elif fate < 0.8:
                    reason = rng.choice((NackReason.FAILED, NackReason.RELEASED))
                    # Noted first: somebody else may have the item before the reply is here.
                    undone = reason is NackReason.RELEASED
                    before = (delivery.undone, delivery.ended)
                    delivery.undone, delivery.ended = undone, True
                    (outcome,) = await engine.nack(NS, [Nack(item.id, item.token, reason, 0)])
                    if outcome is not Outcome.OK:
                        delivery.undone, delivery.ended = before
            if not reply.items:
                for id in [id for id in left if raw.zscore(PREFIX + "dead:t:dead", id) is not None]:
                    # Or somebody has the last delivery of it, and has not come to note it.
                    if sum(not delivery.undone for delivery in history.life(id).deliveries) == 3:
                        history.ended(id, "dead")
                        left.discard(id)
                await asyncio.sleep(0.001)

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(produce(engine, n) for n, engine in enumerate(engines)),
            *(consume(engine, n) for n, engine in enumerate(engines * 2)),
        )
    history.all_ended()
    ends = Counter(life.ends[0] for lives in history.lives.values() for life in lives)
    assert set(ends) == {"done", "gone", "dead"}
    assert raw.hlen(PREFIX + "item") == ends["dead"]
    assert not raw.keys(PREFIX + "leased:*")


async def test_priorities_are_the_same_for_all(engine: Engine, other: Engine, raw: redis.Redis) -> None:
    raw.hset(PREFIX + "priority:t", "second", "2")
    for queue in ("first", "second"):
        await put(engine, queue, spec=LEASED._replace(queue=queue))
    assert ids_of(await lease(other)) == ["second", "first"]
