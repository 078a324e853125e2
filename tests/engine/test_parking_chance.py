"""Items of several tasks, some parked, some leased by share: whatever happens, none is lost or doubled."""

from __future__ import annotations

import random

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import (
    Ack,
    Kind,
    LeaseCall,
    Leased,
    LeaseQuery,
    Nack,
    NackReason,
    NewItem,
    Outcome,
    Refresh,
    State,
)
from dibs.broker.engine.workers import skill_set

from .helpers import KEPT, NS, ONCE, PREFIX, SECOND_US, TASKS, Clock, new

TASK_NAMES = ("a", "b", "c")
QUEUES = ("x", "y")
SKILLS = (("a",), ("b",), ("a", "c"), ())
LEASED = KEPT._replace(attempts=1_000_000, lease_us=5 * SECOND_US, max_crashes=1000)
GIVEN_BACK = [NackReason.FAILED, NackReason.RELEASED, NackReason.UNSEEN, NackReason.NOT_BEGUN, NackReason.CRASHED]
OVER = (State.SUCCEEDED, State.CANCELLED, State.UNKNOWN)


class Chance:
    """Does one thing after another, and knows what must be there.

    Attributes:
        alive: ids of items that are not over, with "cancelled" if that was asked for while they ran.
        held: leases, some of which may be over.
    """

    def __init__(self, engine: Engine, raw: redis.Redis, clock: Clock, seed: int) -> None:
        self.engine = engine
        self.raw = raw
        self.clock = clock
        self.random = random.Random(seed)
        self.alive: dict[str, str] = {}
        self.held: list[Leased] = []
        self.made = 0
        self.sequence = 0

    async def put(self) -> None:
        items = []
        for _ in range(self.random.choice((1, 3, 40))):
            id = f"i{self.made}"
            self.made += 1
            items.append(self._item(id, "k"))
            self.alive[id] = ""
        await self.engine.enqueue(NS, "", items)

    def _item(self, id: str, conflict: str) -> NewItem:
        task, queue = self.random.choice(TASK_NAMES), self.random.choice(QUEUES)
        spec = self.random.choice((LEASED, LEASED, ONCE))._replace(queue=queue)
        due = self.random.choice(("", "", f"+{3 * SECOND_US}"))
        return new(id, spec, due=due, conflict=conflict, body=b"\x0a\x01" + task.encode())

    async def replace(self) -> None:
        if self.alive:
            id = self.random.choice(list(self.alive))
            await self.engine.enqueue(NS, "", [self._item(id, "r")])

    async def lease(self) -> None:
        names = self.random.choice(SKILLS)
        digest = skill_set(names) if names else ""
        if names and self.random.random() < 0.9:
            await self.engine.workers.teach(NS, digest, names)
        self.sequence += 1
        shares = self.random.choice(((1,), (30,), (20, 20), (200,)))
        call = LeaseCall(
            self.random.choice(("me", "")),
            self.sequence,
            shares,
            [item.token for item in self.held[-3:] if item.token],
            skills=digest,
            sift=bool(names) and self.random.random() < 0.8,
        )
        query = self.random.choice((TASKS, LeaseQuery(Kind.TASK, ("y", "x")), LeaseQuery(Kind.TASK, ("x",))))
        reply = await self.engine.lease(NS, query, sum(shares), call=call)
        if call.caller and self.random.random() < 0.3:
            again = await self.engine.lease(NS, query, sum(shares), call=call)
            assert sorted(again.items) == sorted(reply.items)
        for item in reply.items:
            assert item.id in self.alive, f"{item.id} was over"
            if call.sift and digest and not reply.untaught:
                assert item.record[-1:].decode() in names
            if not item.token:
                del self.alive[item.id]
        assert len({item.id for item in reply.items}) == len(reply.items)
        self.held += [item for item in reply.items if item.token]

    def _some_held(self) -> list[Leased]:
        self.random.shuffle(self.held)
        count = min(len(self.held), self.random.choice((1, 5, 50)))
        some, self.held = self.held[:count], self.held[count:]
        return some

    async def ack(self) -> None:
        if some := self._some_held():
            outcomes = await self.engine.ack(NS, [Ack(item.id, item.token, None) for item in some])
            for item, outcome in zip(some, outcomes, strict=True):
                if outcome is Outcome.OK:
                    del self.alive[item.id]

    async def nack(self) -> None:
        if some := self._some_held():
            delay = self.random.choice((0, SECOND_US))
            await self.engine.nack(
                NS, [Nack(item.id, item.token, self.random.choice(GIVEN_BACK), delay, "no") for item in some]
            )
            await self._drop_cancelled(some)

    async def refresh(self) -> None:
        if some := self._some_held():
            length = self.random.choice((None, SECOND_US, 9 * SECOND_US))
            await self.engine.refresh(NS, [Refresh(item.id, item.token, length) for item in some])
            self.held += some

    async def _drop_cancelled(self, items: list[Leased]) -> None:
        for id in {item.id for item in items}:
            if id in self.alive and self.alive[id] == "cancelled":
                (status,) = await self.engine.lookup(NS, [id])
                if status.state in OVER:
                    del self.alive[id]

    async def cancel(self) -> None:
        if self.alive:
            for id in self.random.sample(list(self.alive), min(3, len(self.alive))):
                await self.engine.cancel(NS, [id])
                (status,) = await self.engine.lookup(NS, [id])
                if status.state in OVER:
                    del self.alive[id]
                else:
                    self.alive[id] = "cancelled"

    async def delete(self) -> None:
        if self.alive:
            for id in self.random.sample(list(self.alive), min(2, len(self.alive))):
                assert await self.engine.queues.delete_items(NS, [id]) == [True]
                del self.alive[id]

    async def pause(self) -> None:
        paused = self.random.random() < 0.4
        await self.engine.queues.pause(NS, Kind.TASK, self.random.choice(QUEUES), paused=paused)

    async def clear(self) -> None:
        if self.random.random() < 0.1:
            queue = self.random.choice(QUEUES)
            async for _ in self.engine.queues.clear(NS, Kind.TASK, queue):
                pass
            for id in list(self.alive):
                (status,) = await self.engine.lookup(NS, [id])
                if status.state in OVER:
                    del self.alive[id]

    async def passes(self) -> None:
        self.clock.passes(self.random.choice((SECOND_US // 10, SECOND_US, 6 * SECOND_US)))
        await self.engine._advance(NS)
        for id in [id for id, how in self.alive.items() if how == "cancelled"]:
            (status,) = await self.engine.lookup(NS, [id])
            if status.state in OVER:
                del self.alive[id]

    async def check(self) -> None:
        """Counts agree with the states."""
        ids = list(self.alive)
        states = []
        for at in range(0, len(ids), 1000):
            states += [status.state for status in await self.engine.lookup(NS, ids[at : at + 1000])]
        assert not {*states} & {*OVER, State.FAILED, State.DEAD}, dict(zip(ids, states, strict=True))
        counts = [one for one in await self.engine.queues.describe(NS, Kind.TASK, QUEUES) if one]
        assert sum(one.delayed for one in counts) == sum(state in (State.SCHEDULED, State.LATE) for state in states)
        assert sum(one.ready for one in counts) + sum(one.leased for one in counts) == sum(
            state in (State.WAITING, State.STARTED) for state in states
        )

    async def run(self, steps: int) -> None:
        things = [
            *(self.put, self.put, self.replace, self.lease, self.lease, self.lease, self.ack, self.nack, self.refresh),
            *(self.cancel, self.delete, self.pause, self.clear, self.passes),
        ]
        for _ in range(steps):
            await self.random.choice(things)()
            await self.check()

    async def drain(self) -> None:
        """Everything that is not over comes out, and then nothing is left."""
        for queue in QUEUES:
            await self.engine.queues.pause(NS, Kind.TASK, queue, paused=False)
        for _ in range(3):
            await self.passes()
            self.clock.passes(20 * SECOND_US)
        await self.passes()
        came: list[Leased] = []
        while found := (await self.engine.lease(NS, TASKS, 300)).items:
            came += found
        assert sorted(item.id for item in came) == sorted(self.alive)
        await self._ack_all([item for item in came if item.token])
        for pattern in ("parked*", "share*", "leased*", "queue:*", "delayed:*", "item", "run"):
            assert self.raw.keys(PREFIX + pattern) == []

    async def _ack_all(self, items: list[Leased]) -> None:
        for at in range(0, len(items), 1000):
            await self.engine.ack(NS, [Ack(item.id, item.token, None) for item in items[at : at + 1000]])


@pytest.mark.parametrize("seed", [1, 2, 3, 141, 149, 214])
async def test_none_is_lost_or_doubled(still: Engine, raw: redis.Redis, clock: Clock, seed: int) -> None:
    await still.hints.subscribed.wait()
    await still.peers.look()
    assert still.peers.current
    chance = Chance(still, raw, clock, seed)
    await chance.run(150)
    await chance.drain()
