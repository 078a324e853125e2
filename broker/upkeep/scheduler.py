"""Runs the schedules: one timer in every broker; the scripts make it harmless that all of them fire.

A schedule costs nothing until it is due. While its run waits to be started nothing looks at it either: the start is
heard of as a hint, with a slow look behind it for hints that were lost and brokers that died.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from dibs.contract.cron import BadCron

from ..engine.engine import Engine
from ..engine.schedules import StartedRun
from ..engine.timers import Timers
from ..messages.schedules import UnknownTiming, decode_recurrence

_log = logging.getLogger(__name__)

#: Schedules that one look names.
_MAX_NAMES = 1000


class Scheduler:
    """Fires what is due and plans what comes next, in every namespace of an engine.

    Args:
        engine: must have been started, and be closed after this.
        late: told of each run that has been begun, how many seconds after it was due.
    """

    def __init__(self, engine: Engine, late: Callable[[float], None] | None = None) -> None:
        self._engine = engine
        self._late = late
        # Without looks of its own accord: the engine's, at each namespace, tell when to look at a schedule.
        self._timers = Timers(self._look, lambda _: math.inf)
        self._hearing = ExitStack()
        #: Schedules whose runs are pending as far as this process knows: namespace → stem of the run's id → name.
        self._pending: dict[str, dict[str, str]] = defaultdict(dict)
        #: Ids of runs whose state has changed since the last look.
        self._changed: dict[str, set[str]] = defaultdict(set)
        #: Namespaces where workers have come since the last look.
        self._workers_came: set[str] = set()

    def start(self) -> None:
        """Begins to fire."""
        self._engine.schedules.on_due = self._see_due
        self._hearing.enter_context(self._engine.hints.on_run(self._hear))
        self._timers.start()

    async def close(self) -> None:
        """Stop firing; other brokers go on. A second call does nothing."""
        self._engine.schedules.on_due = None
        self._hearing.close()
        await self._timers.close()

    def workers_came(self, namespace: str) -> None:
        """Says that workers are connected now, and known to the engine: schedules may have waited for them."""
        self._workers_came.add(namespace)
        self._timers.due(namespace, 0)

    def _see_due(self, namespace: str, due_us: int, now_us: int) -> None:
        self._timers.see_clock(now_us)
        self._timers.due(namespace, due_us)

    def _hear(self, namespace: str, run_id: str) -> None:
        # Also of runs that this process does not know to be pending: a hint may be faster than the reply of the look
        # that enqueued the run. The next look sorts them out.
        self._changed[namespace].add(run_id)
        self._timers.due(namespace, 0)

    async def _look(self, namespace: str) -> None:
        pending = self._pending[namespace]
        stems = {id.rpartition(":")[0] for id in self._changed.pop(namespace, ())}
        names = [name for stem in stems if (name := pending.pop(stem, None)) is not None]
        workers_came = namespace in self._workers_came
        self._workers_came.discard(namespace)
        # If it fails, the slow look comes to what was changed, and the engine's next look says that something is due.
        seen = await self._engine.schedules.look(namespace, names[:_MAX_NAMES], workers_came=workers_came)
        pending |= seen.pending
        if not pending:
            self._pending.pop(namespace, None)
        if seen.started:
            await self._plan(namespace, seen.started)

    async def _plan(self, namespace: str, runs: Iterable[StartedRun]) -> None:
        plans = []
        for run in runs:
            if self._late is not None:
                self._late((run.start_us - run.due_us) / 1e6)
            try:
                plans.append((run, decode_recurrence(run.definition).following(run.due_us, run.start_us)))
            except Exception as error:  # noqa: BLE001 - one schedule must not hold up the others
                # It was good when it was put: by a broker with other time zones or another croniter.
                _log.error(
                    "schedule %s in namespace %s cannot go on: %s",
                    run.name,
                    namespace,
                    error,
                    exc_info=not isinstance(error, (BadCron, UnknownTiming)),
                )
            # One costs up to a millisecond.
            await asyncio.sleep(0)
        await self._engine.schedules.plan(namespace, plans)
