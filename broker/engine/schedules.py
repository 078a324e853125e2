"""Schedules: what runs by itself, how each stands, and the steps from one due time to the next.

A schedule waits for its due time; then its run is enqueued, once, whoever looks; when that run starts, the next due
time is computed outside of Redis, where calendars are, and set if nobody was faster. Every step is one script call, and
what a step needs to know stands in Redis, so that any broker can go on where another one died.
"""

from __future__ import annotations

import enum
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .connections import Argument
from .hints import RUN_PREFIX
from .quotas import QuotaWatch, checked
from .scripts import Call
from .types import Spec, decode_spec

#: How often a schedule is looked at whose run is pending or whose task no worker knows, though no hint came.
_LOOK_US = 5_000_000
#: When a schedule is looked at again whose next time was to be planned, by whoever has not died by then.
_PLANNING_US = 2_000_000
#: How long the wish to hear of a run's start stays in Redis; each look lengthens it.
_WATCH_US = 60_000_000
#: Schedules that one look handles besides those that are named.
_MAX_LOOK = 100
#: Schedules that one call puts, removes or lists.
_MAX_BATCH = 1000
#: Longest id of a run, as that of any item; the due time takes up to 17 of it.
_MAX_RUN_STEM = 128 - 17


class NewSchedule(NamedTuple):
    """A schedule to put.

    Attributes:
        name: unique in its namespace.
        spec: `Spec.encode()` of its runs.
        task: the task that a connected worker must know.
        definition: when it is due, for the caller to read.
        body: that of its runs.
        due_us: when it is due first.
    """

    name: str
    spec: str
    task: str
    definition: bytes
    body: bytes
    due_us: int


class ScheduleState(enum.StrEnum):
    """How a schedule stands; the values are those of ``lua/include/schedules.lua``."""

    PLANNED = "W"
    NO_WORKER = "N"
    PENDING = "P"
    #: Its run has started, and the next is to be planned.
    STARTED = "S"
    #: Not in Redis: what is kept of it was written by another version, or is damaged.
    UNREADABLE = "?"


class StoredSchedule(NamedTuple):
    """A schedule and how it stands. `run_due_us` and `start_us` 0: it has never run, or never started.

    Of one that is unreadable nothing but the name is known, and no `spec`.
    """

    name: str
    group: str
    spec: Spec | None
    task: str
    definition: bytes
    body: bytes
    state: ScheduleState
    due_us: int
    run_due_us: int
    start_us: int
    runs: int

    @property
    def run_id(self) -> str:
        """Id of the run that is pending or started last; "" none."""
        return f"{run_stem(self.name)}:{self.run_due_us}" if self.run_due_us else ""


class StartedRun(NamedTuple):
    """The run of a schedule has started; `start_us` is when that was noticed."""

    name: str
    definition: bytes
    due_us: int
    start_us: int


class Look(NamedTuple):
    """What a look has found: schedules whose runs are pending, by `run_stem`, and runs that have started."""

    pending: dict[str, str]
    started: list[StartedRun]


def run_stem(name: str) -> str:
    """The id of a schedule's runs but for ``:<due time>``: its name, or a digest of one that does not fit an id."""
    if len(name) > _MAX_RUN_STEM - len(RUN_PREFIX) or not (name.isascii() and name.isprintable()) or " " in name:
        name = "#" + hashlib.sha256(name.encode()).hexdigest()[:40]
    return RUN_PREFIX + name


class Schedules:
    """The schedules of all namespaces.

    Every call that may change what is due next tells `on_due`.

    Args:
        call: runs scripts.
        call_known: the same, for what makes a namespace one that is in use.
        quotas: how many there may be, and what their runs may put in.
    """

    def __init__(self, call: Call, call_known: Call, quotas: QuotaWatch) -> None:
        self._call = call
        self._quotas = quotas
        self._call_known = call_known
        #: Told of a namespace's next look, in us of Redis's clock (-1: none), and of that clock's now.
        self.on_due: Callable[[str, int, int], None] | None = None

    async def now_us(self, namespace: str) -> int:
        """Redis's clock."""
        now: int = await self._call("probe", namespace, ())
        return now

    async def put(
        self, namespace: str, group: str, schedules: Sequence[NewSchedule], *, replace_group: bool = False
    ) -> list[str]:
        """Make or change at most 1,000 schedules; one that is there and unchanged keeps its due time.

        Args:
            namespace: theirs.
            group: who they belong to.
            schedules: no name twice.
            replace_group: remove the others of the group.

        Returns:
            Names of those that were removed.

        Raises:
            QuotaExceeded: there would be too many; none was made or changed.
        """
        args: list[Argument] = [group, int(replace_group), len(schedules), self._quotas.of(namespace).schedules]
        for name, spec, task, definition, body, due_us in schedules:
            head = f"{spec}\n{run_stem(name)}\n{task}\n{group}\n{len(definition)}\n"
            args += (name, head.encode() + definition + body, due_us)
        removed: list[str] = []
        again = 1
        while again:
            reply = await self._call_known("put_schedules", namespace, args)
            due, now, again, names = checked(namespace, reply)
            self.see_due(namespace, due, now)
            removed += (name.decode() for name in names)
        return removed

    async def delete(self, namespace: str, names: Sequence[str]) -> list[bool]:
        """Remove at most 1,000 schedules and their runs that have not started; answer which were there."""
        return [code == 1 for code in await self._call("delete_schedules", namespace, [len(names), *names])]

    async def page(
        self, namespace: str, wanted: int, max_bytes: int, after: str = ""
    ) -> tuple[list[StoredSchedule], str]:
        """Schedules by name, and the name after which to go on ("" the end)."""
        names, texts, plans, last = await self._call("list_schedules", namespace, [wanted, max_bytes, after])
        return [_stored(*one) for one in zip(names, texts, plans, strict=True)], last.decode()

    async def look(self, namespace: str, names: Sequence[str] = (), *, workers_came: bool = False) -> Look:
        """Enqueues what is due and notices which runs have started. Any number of brokers may do so at once.

        What quotas leave no room for stays due, and is looked at again.

        Args:
            namespace: where.
            names: at most 1,000 schedules to look at besides those whose time has come.
            workers_came: look at those that lacked a worker, too.
        """
        again_us = int(_LOOK_US * random.uniform(0.75, 1.0))
        args: list[Argument] = [
            again_us,
            _WATCH_US,
            _PLANNING_US,
            _MAX_LOOK,
            int(workers_came),
            self._quotas.text(namespace),
            len(names),
            *names,
        ]
        due, now, pending, started = await self._call("look_schedules", namespace, args)
        self.see_due(namespace, due, now)
        runs = [StartedRun(name.decode(), definition, due, start) for name, definition, due, start in started]
        return Look({run_stem(name.decode()): name.decode() for name in pending}, runs)

    async def plan(self, namespace: str, plans: Sequence[tuple[StartedRun, int]]) -> None:
        """Set the next due times after runs that have started, unless somebody was faster."""
        for at in range(0, len(plans), _MAX_BATCH):
            some = plans[at : at + _MAX_BATCH]
            args: list[Argument] = [len(some)]
            for run, due_us in some:
                args += (run.name, run.due_us, run.start_us, due_us)
            self.see_due(namespace, *await self._call("plan_schedules", namespace, args))

    async def fire_all(self, namespace: str) -> None:
        """Make every schedule due now; those that have a run pending have nothing more to do."""
        last = b""
        while True:
            due, now, last = await self._call("force_schedules", namespace, [_MAX_BATCH, last])
            self.see_due(namespace, due, now)
            if not last:
                return

    def see_due(self, namespace: str, due_us: int, now_us: int) -> None:
        """Tells `on_due` what a script said."""
        if self.on_due is not None:
            self.on_due(namespace, due_us, now_us)


def _stored(name: bytes, text: bytes, plan: bytes) -> StoredSchedule:
    try:
        spec, _, task, group, size, rest = text.split(b"\n", 5)
        state, due, run_due, start, runs, *_ = plan.decode().split(" ")
        # Further words behind the size are of later versions.
        length = int(size.partition(b" ")[0])
        return StoredSchedule(
            name.decode(),
            group.decode(),
            decode_spec(spec),
            task.decode(),
            rest[:length],
            rest[length:],
            ScheduleState(state),
            int(due),
            int(run_due),
            int(start),
            int(runs),
        )
    except ValueError:
        return StoredSchedule(
            name.decode(errors="replace"), "", None, "", b"", b"", ScheduleState.UNREADABLE, 0, 0, 0, 0
        )
