"""The picture in docs/states.md: every transition in it happens, and every state that there is stands in it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Begun, LeaseCall, Leased, NackReason, State

from .helpers import HOUR_US, KEPT, NS, PREFIX, Clock, ack, lease_one, nack, put, state_of, tracked

PAGE = Path(__file__).parents[2] / "docs" / "states.md"
TRANSITIONS = re.findall(r"^    (\S+) --> (\S+): (.+)$", PAGE.read_text(), re.MULTILINE)
MANY = KEPT._replace(attempts=3)
LAST = KEPT._replace(attempts=1)
DYING = LAST._replace(dead_queue="dead")


class Life:
    """One item, `a`, and what can happen to it."""

    def __init__(self, engine: Engine, clock: Clock, raw: redis.Redis) -> None:
        self._engine = engine
        self._clock = clock
        self._raw = raw
        self._leased: Leased | None = None

    async def begin(self, state: str, event: str) -> None:
        """Brings the item into a state, with the properties that the event speaks of."""
        last = "last attempt" in event
        spec = DYING if "dead letter" in event else LAST if last else MANY
        if "too long" in event or state == "EXPIRED":
            spec = spec._replace(expires_us=HOUR_US)
        if state in ("SCHEDULED", "LATE"):
            await put(self._engine, "a", spec=spec, due=f"+{HOUR_US // 2}")
            if state == "LATE":
                self._clock.passes(HOUR_US)
        elif state != "[*]":
            await put(self._engine, "a", spec=LAST if state == "FAILED" else spec)
            if state == "CANCELLED":
                await self.cancelled()
            elif state == "EXPIRED":
                await self.waited()
            elif state != "WAITING":
                self._leased = await lease_one(self._engine)
            if state == "SUCCEEDED":
                await self.acknowledged()
            elif state == "FAILED":
                await self.failed()

    @property
    def leased(self) -> Leased:
        assert self._leased is not None
        return self._leased

    async def enqueued(self) -> None:
        await put(self._engine, "a", spec=MANY)

    async def enqueued_later(self) -> None:
        await put(self._engine, "a", spec=MANY, due=f"+{HOUR_US}")

    async def time_comes(self) -> None:
        self._clock.passes(HOUR_US)

    async def moved(self) -> None:
        await self._engine._advance(NS)

    async def held_ahead(self) -> Leased:
        (item,) = await tracked(self._engine, 1, LeaseCall("me", 1, says_begun=True))
        return item

    async def begun(self) -> None:
        item = await self.held_ahead()
        await self._engine.begun(NS, [Begun(item.id, item.token)])

    async def acknowledged(self) -> None:
        await ack(self._engine, self.leased)

    async def released(self) -> None:
        await nack(self._engine, self.leased, NackReason.RELEASED)

    async def failed(self) -> None:
        await nack(self._engine, self.leased, NackReason.FAILED, delay_us=None)

    async def lease_ran_out(self) -> None:
        self._clock.passes(2 * HOUR_US)
        await self._engine._advance(NS)

    async def waited(self) -> None:
        self._clock.passes(2 * HOUR_US)
        await self._engine._advance(NS)

    async def rejected(self) -> None:
        await nack(self._engine, self.leased, NackReason.REJECTED)

    async def cancelled(self) -> None:
        await self._engine.cancel(NS, ["a"])

    async def cancelled_and_stopped(self) -> None:
        await self.cancelled()
        await nack(self._engine, self.leased, NackReason.CANCELLED)

    async def forgotten(self) -> None:
        assert 0 < self._raw.pttl(PREFIX + "end:a") <= HOUR_US // 1000
        # That Redis keeps its word on expiry is not ours to test, and its clock does not stand still.
        self._raw.pexpire(PREFIX + "end:a", 0)


EVENTS: dict[str, Callable[[Life], Awaitable[object]]] = {
    "enqueued": Life.enqueued,
    "enqueued with a delay": Life.enqueued_later,
    "its time comes": Life.time_comes,
    "moved to its queue": Life.moved,
    "leased by a worker ahead of time": Life.held_ahead,
    "begun": Life.begun,
    "acknowledged": Life.acknowledged,
    "released": Life.released,
    "failed, attempts left": Life.failed,
    "failed in its last attempt": Life.failed,
    "lease ran out, attempts left": Life.lease_ran_out,
    "lease of its last attempt ran out": Life.lease_ran_out,
    "waited too long": Life.waited,
    "waits for another attempt too long": Life.waited,
    "rejected": Life.rejected,
    "cancelled": Life.cancelled,
    "cancelled and stopped": Life.cancelled_and_stopped,
    "result_ttl is over": Life.forgotten,
}


@pytest.mark.parametrize(("before", "after", "event"), TRANSITIONS, ids=[" ".join(one) for one in TRANSITIONS])
async def test_a_transition_of_the_picture_happens(
    still: Engine, clock: Clock, raw: redis.Redis, before: str, after: str, event: str
) -> None:
    life = Life(still, clock, raw)
    await life.begin(before, event)
    assert (await state_of(still, "a")).name == ("UNKNOWN" if before == "[*]" else before)
    await EVENTS[event.removesuffix(", asks for a dead letter")](life)
    assert (await state_of(still, "a")).name == after


def test_every_state_stands_in_the_picture() -> None:
    drawn = {state for before, after, _ in TRANSITIONS for state in (before, after)}
    assert drawn == {state.name for state in State} | {"[*]"}
