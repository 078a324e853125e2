"""Two brokers of two versions on one Redis: today's engine, and the scripts of an earlier version as it called them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.schedules import NewSchedule, StartedRun, run_stem
from dibs.broker.engine.types import Ack, Kind, LeaseCall, LeaseQuery, Nack, NackReason, NewItem, Refresh, Spec

from .helpers import HOUR_US, NS, PREFIX
from .stored import FIXTURES

#: What outcomes of ack, nack and refresh are called.
OK, NOT_FOUND, EXPIRED, SUPERSEDED = range(4)


class Got(NamedTuple):
    """A lease, as far as both versions tell it."""

    id: str
    token: int
    attempt: int
    error: str


class Broker(Protocol):
    """What is asked of either."""

    async def put(self, spec: Spec, *ids: str, due: str = "", conflict: str = "k", request: str = "") -> str:
        """Enqueues; a letter for each."""

    async def lease(self, wanted: int = 1000) -> list[Got]:
        """Leases tasks of all queues."""

    async def ack(self, got: Got, result: bytes | None = None) -> int:
        """Finishes one."""

    async def nack(self, got: Got, reason: NackReason, error: str = "") -> int:
        """Gives one back, without delay."""

    async def refresh(self, got: Got) -> tuple[int, bool]:
        """Lengthens a lease by an hour; whether it was cancelled."""

    async def cancel(self, *ids: str) -> list[int]:
        """Cancels."""

    async def states(self, *ids: str) -> list[tuple[str, str]]:
        """State and error of each."""

    async def delete(self, *ids: str) -> list[bool]:
        """Deletes."""

    async def advance(self) -> None:
        """Does what time has made due."""

    async def redrive(self, queue: str) -> int:
        """Sends dead letters back."""

    async def put_schedule(self, spec: Spec, name: str, due_us: int) -> None:
        """Puts a schedule of the task "task"."""

    async def look(self, *names: str) -> tuple[set[str], list[StartedRun]]:
        """Fires schedules: those that are pending, those that have started."""

    async def plan(self, run: StartedRun, due_us: int) -> None:
        """Plans the next run."""


class Today:
    """Today's engine; `tracked`: its lease calls have names, as those of a broker have."""

    def __init__(self, engine: Engine, *, tracked: bool = True) -> None:
        self.engine = engine
        self._tracked = tracked
        self._calls = 0

    async def put(self, spec: Spec, *ids: str, due: str = "", conflict: str = "k", request: str = "") -> str:
        items = [NewItem(id, spec.encode(), due, conflict, b"body") for id in ids]
        return "".join(outcome.value for outcome in await self.engine.enqueue(NS, request, items))

    async def lease(self, wanted: int = 1000) -> list[Got]:
        self._calls += 1
        call = LeaseCall("today" if self._tracked else "", self._calls)
        reply = await self.engine.lease(NS, LeaseQuery(Kind.TASK), wanted, call=call)
        await self.engine.arrived(NS, receipts=[token for token in {item.token for item in reply.items} if token])
        return [Got(item.id, item.token, item.attempt, item.last_error) for item in reply.items]

    async def ack(self, got: Got, result: bytes | None = None) -> int:
        (outcome,) = await self.engine.ack(NS, [Ack(got.id, got.token, result)])
        return outcome

    async def nack(self, got: Got, reason: NackReason, error: str = "") -> int:
        (outcome,) = await self.engine.nack(NS, [Nack(got.id, got.token, reason, 0, error)])
        return outcome

    async def refresh(self, got: Got) -> tuple[int, bool]:
        ((outcome, cancelled),) = await self.engine.refresh(NS, [Refresh(got.id, got.token, HOUR_US)])
        return outcome, cancelled

    async def cancel(self, *ids: str) -> list[int]:
        return list(await self.engine.cancel(NS, ids))

    async def states(self, *ids: str) -> list[tuple[str, str]]:
        return [(status.state.value, status.error) for status in await self.engine.lookup(NS, ids)]

    async def delete(self, *ids: str) -> list[bool]:
        return await self.engine.queues.delete_items(NS, ids)

    async def advance(self) -> None:
        await self.engine._call("advance", NS, (1000,))

    async def redrive(self, queue: str) -> int:
        steps: list[Any] = [step async for step in self.engine.dead_letters.redrive(NS, Kind.TASK, queue)]
        return int(steps[-1].done)

    async def put_schedule(self, spec: Spec, name: str, due_us: int) -> None:
        await self.engine.schedules.put(NS, "g", [NewSchedule(name, spec.encode(), "task", b"d", b"body", due_us)])

    async def look(self, *names: str) -> tuple[set[str], list[StartedRun]]:
        found = await self.engine.schedules.look(NS, names)
        return set(found.pending.values()), found.started

    async def plan(self, run: StartedRun, due_us: int) -> None:
        await self.engine.schedules.plan(NS, [(run, due_us)])


class Earlier:
    """The scripts of an earlier version.

    Args:
        raw: the Redis.
        folder: of the scripts, in the fixtures.
    """

    def __init__(self, raw: redis.Redis, folder: str = "scripts-0.1") -> None:
        self._raw = raw
        self._folder = FIXTURES / folder

    def call(self, name: str, *args: Any) -> Any:
        """Runs a script; its includes are put in, and the tests' clock."""

        def include(match: re.Match[str]) -> str:
            part = "clock_shifted" if match[1] == "clock" else match[1]
            return (self._folder / "include" / f"{part}.lua").read_text()

        source = re.sub(
            r"^--- @include (\w+)$", include, (self._folder / f"{name}.lua").read_text(), flags=re.MULTILINE
        )
        return self._raw.eval(source, 1, PREFIX, NS, "dibs:hints", *args)

    async def put(self, spec: Spec, *ids: str, due: str = "", conflict: str = "k", request: str = "") -> str:
        items: list[Any] = [part for id in ids for part in (id, b"body")]
        _, codes = self.call("enqueue", 120_000, "other", 1, request, 1, len(ids), spec.encode(), due, conflict, *items)
        return str(codes.decode())

    async def lease(self, wanted: int = 1000) -> list[Got]:
        _, _, _, ids, _, stretches = self.call("lease", "t", wanted, 3 * 1024 * 1024, "", "", 24 * HOUR_US, 0, 0)
        found: list[Got] = []
        for at in range(0, len(stretches), 6):
            count, token, attempt, _, _, error = stretches[at : at + 6]
            some = ids[len(found) : len(found) + count]
            found += [Got(id.decode(), token, attempt, error.decode()) for id in some]
        return found

    async def ack(self, got: Got, result: bytes | None = None) -> int:
        (code,) = self.call("ack", 1, 3, got.id, got.token, "-" if result is None else b"R" + result)
        return int(code)

    async def nack(self, got: Got, reason: NackReason, error: str = "") -> int:
        _, (code,) = self.call("nack", 1, got.id, got.token, reason.value, 0, error)
        return int(code)

    async def refresh(self, got: Got) -> tuple[int, bool]:
        (code,), (cancelled,) = self.call("refresh", 1, got.id, got.token, HOUR_US)
        return int(code), cancelled == 1

    async def cancel(self, *ids: str) -> list[int]:
        return [int(code) for code in self.call("cancel", len(ids), *ids)]

    async def states(self, *ids: str) -> list[tuple[str, str]]:
        found = []
        for state, _, _, _, _, _, error, ending, _ in self.call("lookup", "n", 0, 0, 10**6, len(ids), *ids):
            failure = ending[1:] if ending[:1] == b"E" else error
            found.append((state.decode(), failure.decode()))
        return found

    async def delete(self, *ids: str) -> list[bool]:
        return [code == 1 for code in self.call("delete", len(ids), *ids)]

    async def advance(self) -> None:
        self.call("advance", 1000)

    async def redrive(self, queue: str) -> int:
        _, done, _, _ = self.call("redrive", "t", queue, "", 1000, 0)
        return int(done)

    async def put_schedule(self, spec: Spec, name: str, due_us: int) -> None:
        text = f"{spec.encode()}\n{run_stem(name)}\ntask\ng\n1\ndbody"
        self.call("put_schedules", "g", 0, 1, name, text, due_us)

    async def look(self, *names: str) -> tuple[set[str], list[StartedRun]]:
        _, _, pending, started = self.call("look_schedules", 5e6, 60e6, 2e6, 100, 0, len(names), *names)
        runs = [StartedRun(name.decode(), definition, due, start) for name, definition, due, start in started]
        return {name.decode() for name in pending}, runs

    async def plan(self, run: StartedRun, due_us: int) -> None:
        self.call("plan_schedules", 1, run.name, run.due_us, run.start_us, due_us)


Pair = Sequence[Broker]
