"""Short words for what the engine's tests say again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from dibs.broker.engine import keys
from dibs.broker.engine.config import EngineConfig
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
    Spec,
    State,
)

NS = "ns"
PREFIX = keys.namespace_prefix("dibs", NS)
TASKS = LeaseQuery(Kind.TASK)
SECOND_US = 1_000_000
#: Bytes of items that one reply holds.
ROOM = EngineConfig("").reply_bytes
HOUR_US = 3600 * SECOND_US

#: Delivered at most once, nothing kept.
ONCE = Spec(Kind.TASK, "q")
#: Leased for an hour, as often as it takes.
LEASED = Spec(Kind.TASK, "q", attempts=1000, lease_us=HOUR_US)
#: Its end is kept for an hour.
KEPT = LEASED._replace(keep_us=HOUR_US)


def new(id: str, spec: Spec = LEASED, *, due: str = "", conflict: str = "k", body: bytes = b"body") -> NewItem:
    """An item to enqueue."""
    return NewItem(id, spec.encode(), due, conflict, body)


async def put(engine: Engine, *ids: str, spec: Spec = LEASED, due: str = "") -> None:
    """Enqueues items."""
    await engine.enqueue(NS, "", [new(id, spec, due=due) for id in ids])


async def lease(engine: Engine, wanted: int = 1000, query: LeaseQuery = TASKS) -> list[Leased]:
    """Leases what is ready."""
    return (await engine.lease(NS, query, wanted)).items


async def lease_one(engine: Engine, query: LeaseQuery = TASKS) -> Leased:
    """Leases an item that must be there."""
    (item,) = await lease(engine, 1, query)
    return item


async def ack(engine: Engine, item: Leased, result: bytes | None = None) -> Outcome:
    """Finishes an item."""
    (outcome,) = await engine.ack(NS, [Ack(item.id, item.token, result)])
    return outcome


async def nack(
    engine: Engine,
    item: Leased,
    reason: NackReason = NackReason.FAILED,
    delay_us: int | None = 0,
    error: str = "",
) -> Outcome:
    """Gives an item back."""
    (outcome,) = await engine.nack(NS, [Nack(item.id, item.token, reason, delay_us, error)])
    return outcome


async def state_of(engine: Engine, id: str) -> State:
    """Where an item is in its life."""
    (status,) = await engine.lookup(NS, [id])
    return status.state


async def tracked(engine: Engine, wanted: int, call: LeaseCall) -> list[Leased]:
    """Leases under a name."""
    return (await engine.lease(NS, TASKS, wanted, call=call)).items


def ids_of(items: Sequence[Leased]) -> list[str]:
    return [item.id for item in items]


async def until(event: asyncio.Event, within_s: float = 10.0) -> None:
    """Waits for an event that must come."""
    async with asyncio.timeout(within_s):
        await event.wait()


async def until_watched(raw: redis.Redis, *ids: str) -> None:
    """Waits until somebody waits for news of the items."""
    async with asyncio.timeout(10):
        while None in (raw.zscore(PREFIX + "watch", id) for id in ids):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.001)


def scores(raw: redis.Redis, key: str) -> list[int]:
    """Times in a sorted set."""
    entries: Any = raw.zrange(PREFIX + key, 0, -1, withscores=True)
    return [int(score) for _, score in entries]


@dataclass
class Clock:
    """The time of the namespace, which stands still until the test moves it."""

    raw: redis.Redis
    now_us: int

    def passes(self, us: int) -> None:
        """Moves the time forward."""
        self.now_us += us
        self.raw.set(PREFIX + "frozen", self.now_us)


def script_calls(raw: redis.Redis) -> int:
    """Script calls that Redis has carried out since its statistics were reset."""
    stats: dict[str, Any] = raw.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))
