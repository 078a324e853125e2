"""One item whose record and one whose run cannot be read, among 100: for every script the other 98 come out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import pytest
import redis

from dibs.broker.engine.dead_letters import Progress
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.queues import Section
from dibs.broker.engine.types import (
    Ack,
    Cancelled,
    Conflict,
    Enqueued,
    Kind,
    Leased,
    LeaseQuery,
    Nack,
    NackReason,
    Outcome,
    Refresh,
    State,
)

from .helpers import HOUR_US, LEASED, NS, ONCE, PREFIX, SECOND_US, Clock, ids_of, lease, new, put

DYING = LEASED._replace(attempts=1, dead_queue="dead")
SHORT = LEASED._replace(lease_us=SECOND_US)
ALL = [f"i{number:02}" for number in range(100)]
BAD_RECORD, BAD_RUN = "i41", "i71"
GOOD = [id for id in ALL if id not in (BAD_RECORD, BAD_RUN)]

#: What another version or an accident leaves of a text that holds a spec.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "next version": lambda text: text.replace(b"\n", b" v=2\n") if b"\n" in text else text + b" v=2",
    "garbage": lambda text: b"\x00\xff{" + text[:5],
    "empty": lambda text: b"",
}


@pytest.fixture(params=DAMAGES)
def damage(request: pytest.FixtureRequest, raw: redis.Redis) -> Callable[[], None]:
    """Makes the record of one item and the run of another unreadable; one that has no run gets one."""
    spoil = DAMAGES[request.param]

    def break_them() -> None:
        record: Any = raw.hget(PREFIX + "item", BAD_RECORD)
        raw.hset(PREFIX + "item", BAD_RECORD, spoil(record))
        run: Any = raw.hget(PREFIX + "run", BAD_RUN) or f"W 1 1 9 0 0 0 {LEASED.encode()}".encode()
        raw.hset(PREFIX + "run", BAD_RUN, spoil(run))

    return break_them


# How the items stand before.


async def ready(engine: Engine) -> list[Leased]:
    await put(engine, *ALL)
    return []


async def ready_once(engine: Engine) -> list[Leased]:
    await put(engine, *ALL, spec=ONCE)
    return []


async def delayed(engine: Engine) -> list[Leased]:
    await put(engine, *ALL, due=f"+{SECOND_US}")
    return []


async def leased(engine: Engine) -> list[Leased]:
    await put(engine, *ALL, spec=SHORT)
    return await lease(engine)


async def tried(engine: Engine) -> list[Leased]:
    """Ready, and delivered before."""
    await put(engine, *ALL)
    await engine.nack(NS, [Nack(item.id, item.token, NackReason.FAILED, 0) for item in await lease(engine)])
    return []


async def dead(engine: Engine) -> list[Leased]:
    await put(engine, *ALL, spec=DYING)
    await engine.nack(NS, [Nack(item.id, item.token, NackReason.FAILED, 0) for item in await lease(engine)])
    return []


# What is done to them; each answers the ids that came out, or with which it went well.


class Scene(NamedTuple):
    """Where it happens: an engine whose time is a clock, and what was leased before."""

    engine: Engine
    clock: Clock
    items: Sequence[Leased]


async def do_lease(scene: Scene) -> list[str]:
    return ids_of(await lease(scene.engine))


async def do_lease_by_one(scene: Scene) -> list[str]:
    found: list[str] = []
    while items := await lease(scene.engine, 1, LeaseQuery(Kind.TASK, ("q",))):
        found += ids_of(items)
    return found


async def do_lease_later(scene: Scene) -> list[str]:
    scene.clock.passes(2 * SECOND_US)
    return ids_of(await lease(scene.engine))


async def do_advance(scene: Scene) -> list[str]:
    scene.clock.passes(2 * SECOND_US)
    await scene.engine._call("advance", NS, (1000,))
    return await do_peek(scene)


async def do_ack(scene: Scene) -> list[str]:
    outcomes = await scene.engine.ack(NS, [Ack(item.id, item.token) for item in scene.items])
    return [item.id for item, outcome in zip(scene.items, outcomes, strict=True) if outcome is Outcome.OK]


async def do_nack(scene: Scene) -> list[str]:
    entries = [Nack(item.id, item.token, NackReason.RELEASED, 0) for item in scene.items]
    await scene.engine.nack(NS, entries)
    return await do_peek(scene)


async def do_refresh(scene: Scene) -> list[str]:
    found = await scene.engine.refresh(NS, [Refresh(item.id, item.token, HOUR_US) for item in scene.items])
    return [item.id for item, one in zip(scene.items, found, strict=True) if one.outcome is Outcome.OK]


async def do_restore(scene: Scene) -> list[str]:
    await put(scene.engine, *ALL, spec=ONCE)
    items = await lease(scene.engine)
    await scene.engine.restore(NS, [i._replace(record=b"?") if i.id == BAD_RECORD else i for i in items])
    return await do_peek(scene)


async def do_enqueue(scene: Scene, conflict: Conflict, outcome: Enqueued) -> list[str]:
    found = await scene.engine.enqueue(NS, "", [new(id, conflict=conflict.value) for id in ALL])
    unlike = dict(zip(ALL, found, strict=True))
    assert (
        unlike[BAD_RECORD] is unlike[BAD_RUN] is (Enqueued.EXISTS if conflict is Conflict.KEEP else Enqueued.CONFLICT)
    )
    return [id for id in ALL if unlike[id] is outcome]


async def do_keep(scene: Scene) -> list[str]:
    return await do_enqueue(scene, Conflict.KEEP, Enqueued.EXISTS)


async def do_fail(scene: Scene) -> list[str]:
    return await do_enqueue(scene, Conflict.FAIL, Enqueued.CONFLICT)


async def do_replace(scene: Scene) -> list[str]:
    return await do_enqueue(scene, Conflict.REPLACE, Enqueued.REPLACED)


async def do_cancel(scene: Scene) -> list[str]:
    found = await scene.engine.cancel(NS, ALL)
    return [id for id, code in zip(ALL, found, strict=True) if code in (Cancelled.REMOVED, Cancelled.REQUESTED)]


async def do_lookup(scene: Scene) -> list[str]:
    found = await scene.engine.lookup(NS, ALL, bodies=True)
    assert State.UNKNOWN not in {status.state for status in found}
    return [status.id for status in found if status.record and status.record.body == b"body"]


async def do_peek(scene: Scene) -> list[str]:
    return [id for id, _ in await scene.engine.peek(NS, Kind.TASK, [], 1000)]


async def do_list(scene: Scene, section: Section, queue: str = "q") -> list[str]:
    page = await scene.engine.queues.items(
        NS, Kind.TASK, queue, section, 1000, body_bytes=2**53, room=3 * 2**20, item_bytes=4 * 2**20
    )
    return [item.id for item in page.items if item.record and item.record.body == b"body"]


async def do_list_ready(scene: Scene) -> list[str]:
    return await do_list(scene, Section.READY)


async def do_list_delayed(scene: Scene) -> list[str]:
    return await do_list(scene, Section.DELAYED)


async def do_list_leased(scene: Scene) -> list[str]:
    return await do_list(scene, Section.LEASED)


async def do_list_dead(scene: Scene) -> list[str]:
    return await do_list(scene, Section.DEAD, "dead")


def nothing_is_left(raw: redis.Redis, *more: str) -> bool:
    """But for what every namespace has, and `more`."""
    lasting = {f"{PREFIX}{name}".encode() for name in ("frozen", "token", "due", *more)}
    found: Any = raw.keys(PREFIX + "*")
    return set(found) <= lasting


async def do_clear(scene: Scene) -> list[str]:
    steps = [step async for step in scene.engine.queues.clear(NS, Kind.TASK, "q")]
    assert steps[-1] == (100, 0)
    assert scene.clock.raw.hlen(PREFIX + "item") == 0
    assert await scene.engine.queues.forget(NS, Kind.TASK, "q")
    assert nothing_is_left(scene.clock.raw)
    return ALL


async def do_delete(scene: Scene) -> list[str]:
    found = await scene.engine.queues.delete_items(NS, ALL)
    assert found == [True] * 100
    # Entries in the middle of a list are left to whoever leases; so is a delayed one of which nothing could be read.
    scene.clock.passes(2 * SECOND_US)
    await lease(scene.engine)
    assert nothing_is_left(scene.clock.raw, "seen:t", "stale:t")
    return ALL


async def last(steps: AsyncIterator[Any]) -> Progress:
    *_, end = [step async for step in steps]
    assert isinstance(end, Progress)
    return end


async def do_redrive(scene: Scene) -> list[str]:
    await last(scene.engine.dead_letters.redrive(NS, Kind.TASK, "dead"))
    return await do_peek(scene)


async def do_purge(scene: Scene) -> list[str]:
    assert await last(scene.engine.dead_letters.purge(NS, Kind.TASK, "dead")) == Progress(100, 0)
    raw = scene.clock.raw
    assert (raw.hlen(PREFIX + "item"), raw.hlen(PREFIX + "run"), raw.hlen(PREFIX + "error")) == (0, 0, 0)
    return ALL


async def do_take(scene: Scene) -> list[str]:
    found = await scene.engine.dead_letters.take(NS, Kind.TASK, "dead", 1000, room=3 * 2**20, item_bytes=4 * 2**20)
    assert len(found.letters) == 98
    assert await scene.engine.dead_letters.queues(NS, Kind.TASK) == []
    return [item.id for item in found.letters]


async def do_snapshot(scene: Scene) -> list[str]:
    steps = scene.engine.snapshots.tasks(NS, "q", delayed_too=True, leased_too=True)
    return [id async for step in steps for id in step]


async def do_describe(scene: Scene) -> list[str]:
    (found,) = await scene.engine.queues.describe(NS, Kind.TASK, ["q"])
    assert found is not None
    return GOOD if found.ready + found.delayed + found.leased + found.dead >= 98 else []


Arrange = Callable[[Engine], Awaitable[list[Leased]]]
Act = Callable[[Scene], Awaitable[list[str]]]

CASES: dict[str, tuple[Arrange, Act]] = {
    "lease": (ready, do_lease),
    "lease one by one": (ready, do_lease_by_one),
    "lease at most once": (ready_once, do_lease),
    "lease again": (tried, do_lease),
    "lease what was delayed": (delayed, do_lease_later),
    "lease what ran out": (leased, do_lease_later),
    "advance delayed": (delayed, do_advance),
    "advance leased": (leased, do_advance),
    "ack": (leased, do_ack),
    "nack": (leased, do_nack),
    "refresh": (leased, do_refresh),
    "restore": (lambda engine: lease(engine), do_restore),
    "keep ready": (ready, do_keep),
    "keep leased": (leased, do_keep),
    "fail ready": (ready, do_fail),
    "replace ready": (ready, do_replace),
    "replace delayed": (delayed, do_replace),
    "replace leased": (leased, do_replace),
    "replace dead": (dead, do_replace),
    "cancel ready": (ready, do_cancel),
    "cancel tried": (tried, do_cancel),
    "cancel delayed": (delayed, do_cancel),
    "cancel leased": (leased, do_cancel),
    "lookup ready": (ready, do_lookup),
    "lookup delayed": (delayed, do_lookup),
    "lookup leased": (leased, do_lookup),
    "lookup dead": (dead, do_lookup),
    "peek": (ready, do_peek),
    "peek tried": (tried, do_peek),
    "list ready": (ready, do_list_ready),
    "list delayed": (delayed, do_list_delayed),
    "list leased": (leased, do_list_leased),
    "list dead": (dead, do_list_dead),
    "clear ready": (ready, do_clear),
    "clear tried": (tried, do_clear),
    "clear delayed": (delayed, do_clear),
    "delete ready": (ready, do_delete),
    "delete tried": (tried, do_delete),
    "delete delayed": (delayed, do_delete),
    "delete leased": (leased, do_delete),
    "delete dead": (dead, do_delete),
    "redrive": (dead, do_redrive),
    "purge": (dead, do_purge),
    "take": (dead, do_take),
    "snapshot ready": (ready, do_snapshot),
    "snapshot delayed": (delayed, do_snapshot),
    "snapshot leased": (leased, do_snapshot),
    "describe ready": (ready, do_describe),
    "describe tried": (tried, do_describe),
    "describe leased": (leased, do_describe),
    "describe dead": (dead, do_describe),
}


@pytest.mark.parametrize("case", CASES)
async def test_two_unreadable_items_among_a_hundred_hold_nothing_up(
    case: str, still: Engine, clock: Clock, damage: Callable[[], None]
) -> None:
    arrange, act = CASES[case]
    items = await arrange(still)
    if act is not do_restore:
        damage()
    found = await act(Scene(still, clock, items))
    assert [id for id in GOOD if id not in found] == []
