"""Scripts read what they hand out or list, and at most one record more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.queues import Section
from dibs.broker.engine.types import Ack, Kind, LeaseCall, State
from dibs.broker.engine.workers import skill_set

from .conftest import MakeEngine
from .helpers import KEPT, NS, PREFIX, TASKS, ids_of, lease, nack, new

LARGE = 100_000
#: Room for three large items and some.
ROOM = 350_000


async def records_read(
    raw: redis.Redis, doing: Callable[[], Awaitable[Sequence[str]]]
) -> tuple[Sequence[str], list[int]]:
    """What came out, and how many records Redis has read for it, command by command."""
    client: Any = raw
    with client.monitor() as monitor:
        found = await doing()
        raw.echo("over")
        read: list[int] = []
        for command in monitor.listen():
            words = command["command"].split(" ")
            if words[0].upper() == "ECHO":
                return found, read
            if words[0].upper() in ("HMGET", "HGET") and words[1] == PREFIX + "item":
                read.append(len(words) - 2)
    raise AssertionError("not reached")


async def leased(engine: Engine) -> Sequence[str]:
    return ids_of(await lease(engine))


async def stock(engine: Engine, sizes: Sequence[int]) -> None:
    await engine.enqueue(NS, "", [new(f"i{at:03}", body=b"x" * size) for at, size in enumerate(sizes)])


async def test_a_lease_of_many_reads_what_fits_and_one_more(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(reply_bytes=ROOM)
    await stock(engine, [LARGE] * 100)
    for _ in range(3):
        found, read = await records_read(raw, lambda: leased(engine))
        assert (len(found), sum(read)) == (3, 4)


async def test_small_items_before_large_ones_make_no_difference(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(reply_bytes=ROOM)
    await stock(engine, [10] * 200 + [LARGE] * 100)
    found, read = await records_read(raw, lambda: leased(engine))
    assert (len(found), sum(read)) == (202, 203)


async def test_neither_do_items_that_were_given_back(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(reply_bytes=ROOM)
    await stock(engine, [LARGE] * 30)
    for item in (await engine.lease(NS, TASKS, 3)).items:
        await nack(engine, item, error="e" * 8000)
    found, read = await records_read(raw, lambda: leased(engine))
    assert len(found) == 3
    assert sum(read) <= 4


async def test_a_lease_of_parked_items_reads_no_more(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(reply_bytes=ROOM)
    await engine.workers.teach(NS, skill_set(["mine"]), ["mine"])
    theirs = b"\x0a\x06theirs" + b"x" * LARGE
    await engine.enqueue(NS, "", [new(f"i{at:03}", body=theirs) for at in range(30)])
    sifting = LeaseCall("sifter", 1, (1000,), skills=skill_set(["mine"]), sift=True)
    while raw.llen(PREFIX + "queue:t:q"):
        await engine.lease(NS, TASKS, 1000, call=sifting)
        sifting = LeaseCall("sifter", sifting.sequence + 1, (1000,), skills=skill_set(["mine"]), sift=True)

    found, read = await records_read(raw, lambda: leased(engine))

    assert len(found) == 3
    assert sum(read) <= 4


async def test_a_peek_reads_what_it_shows_and_one_more(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(reply_bytes=ROOM)
    await stock(engine, [10] * 20 + [LARGE] * 100)

    async def peek() -> list[str]:
        return [id for id, _ in await engine.peek(NS, Kind.TASK, ("q",), 1000)]

    found, read = await records_read(raw, peek)
    assert (len(found), sum(read)) == (23, 24)


async def test_a_listing_reads_4_mib_at_a_time(engine: Engine, raw: redis.Redis) -> None:
    await stock(engine, [2**20] * 20)

    async def page() -> list[str]:
        found = await engine.queues.items(
            NS, Kind.TASK, "q", Section.READY, 1000, body_bytes=10, room=100_000, item_bytes=100_000
        )
        return [item.id for item in found.items]

    found, read = await records_read(raw, page)
    assert len(found) == 20
    assert max(read) <= 4


@pytest.fixture
def lookups(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by an entry with each call of the script that looks items up."""
    made: list[str] = []
    call = engine._scripts.call

    async def counting(script: str, *args: Any) -> Any:
        if script == "lookup":
            made.append(script)
        return await call(script, *args)

    monkeypatch.setattr(engine._scripts, "call", counting)
    return made


@pytest.mark.parametrize("bodies", [False, True])
async def test_a_lookup_reads_4_mib_at_a_time(engine: Engine, lookups: list[str], bodies: bool) -> None:
    sizes = [250_000] * 100
    await stock(engine, sizes)
    ids = [f"i{at:03}" for at in range(len(sizes))]
    found = await engine.lookup(NS, [*ids, "none"], bodies=bodies)
    # 17 of these are more than 4 MiB.
    assert len(lookups) == 100 // 17 + 1
    assert [status.state for status in found] == [State.WAITING] * 100 + [State.UNKNOWN]
    assert all(status.record and status.record.enqueued_us for status in found[:-1])
    whole = engine.config.reply_bytes // 250_100 if bodies else 100
    assert [status.truncated for status in found[:-1]] == [False] * whole + [True] * (100 - whole)


async def test_small_items_are_looked_up_in_one_call(engine: Engine, lookups: list[str]) -> None:
    await stock(engine, [100] * 1000)
    ids = [f"i{at:03}" for at in range(1000)]
    assert len(await engine.lookup(NS, ids, bodies=True)) == 1000
    assert len(lookups) == 1


async def test_results_that_are_not_told_are_not_read(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(reply_bytes=ROOM)
    await engine.enqueue(NS, "", [new(f"i{at}", spec=KEPT) for at in range(20)])
    for item in await lease(engine):
        await engine.ack(NS, [Ack(item.id, item.token, b"r" * LARGE)])
    client: Any = raw
    with client.monitor() as monitor:
        found = await engine.lookup(NS, [f"i{at}" for at in range(20)])
        raw.echo("over")
        commands = []
        for said in monitor.listen():
            words = said["command"].split(" ")
            if words[0].upper() == "ECHO":
                break
            commands.append((words[0].upper(), words[-1]))
    whole = [key for name, key in commands if name == "GET" and key.startswith(PREFIX + "end:")]
    assert len([status for status in found if status.result]) == len(whole) == 3
    assert {status.state for status in found} == {State.SUCCEEDED}
    assert [status.truncated for status in found] == [False] * 3 + [True] * 17
