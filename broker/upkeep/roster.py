"""Which workers are connected to this broker, written down in Redis for all brokers to read.

One report per namespace covers all of its workers, every few seconds and at once when one comes or goes. A broker that
dies leaves its workers there until their time is up.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from dibs.contract.standing import Standing
from dibs.v1 import admin_pb2 as pb

from ..engine.engine import Engine
from ..engine.errors import EngineError
from ..engine.workers import ANY_TASK, NO_TASK, WorkerReport, skill_set

_log = logging.getLogger(__name__)

#: Seconds between two reports; a third of the time that a worker is believed to be there after one.
_REPORT_S = 5.0


class Worker(Protocol):
    """A connected worker that can tell how it stands."""

    def info(self) -> pb.WorkerInfo:
        """What operators see, but for its broker, the names of its tasks and the time of the report."""


class Roster:
    """The workers of this broker.

    Args:
        engine: takes the reports.
        broker_id: name of this broker.
        came: called with a namespace when a worker has been reported there for the first time; must not block.
    """

    def __init__(self, engine: Engine, broker_id: str, came: Callable[[str], None]) -> None:
        self._engine = engine
        self._broker_id = broker_id
        self._came = came
        self._failing = Standing(_log, "workers are reported again")
        self._namespaces: dict[str, _Namespace] = {}

    @contextmanager
    def on(self, namespace: str, worker: Worker, tasks: Sequence[str] | None) -> Iterator[Callable[[], None]]:
        """Keep a worker on the roster inside the with.

        What it gives is to be called when the worker is to be reported anew, at once.

        Args:
            namespace: the worker's.
            worker: tells how it stands.
            tasks: what it can run; empty: any task; None: it runs no tasks.
        """
        mine = self._namespaces.get(namespace)
        if mine is None:
            mine = self._namespaces[namespace] = _Namespace(
                self._engine, self._broker_id, namespace, self._came, self._failing
            )
        key = mine.add(worker, tasks)
        try:
            yield lambda: mine.again(key)
        finally:
            mine.remove(key)

    def here(self) -> Iterator[tuple[str, int, int]]:
        """Namespaces with workers of this broker: how many, and the credit that they have."""
        for namespace, one in self._namespaces.items():
            infos = one.infos()
            yield namespace, len(infos), sum(info.credit for info in infos)

    def tidy(self) -> None:
        """Forgets namespaces without workers."""
        for namespace in [name for name, one in self._namespaces.items() if one.is_empty]:
            self._namespaces.pop(namespace).end()

    async def close(self) -> None:
        """Says that the workers are gone; call when no stream is left."""
        await asyncio.gather(*(one.close() for one in self._namespaces.values()))


class _Namespace:
    """The workers of one namespace. One task reports for all of them, for as long as the broker lives."""

    def __init__(
        self, engine: Engine, broker_id: str, namespace: str, came: Callable[[str], None], failing: Standing
    ) -> None:
        self._engine = engine
        self._broker_id = broker_id
        self._namespace = namespace
        self._came = came
        self._failing = failing
        self._workers: dict[str, tuple[Worker, str]] = {}
        #: Task names by skill set, with the number of workers that have it.
        self._skills: dict[str, tuple[Sequence[str], int]] = {}
        self._gone: set[str] = set()
        #: Workers that were not reported yet.
        self._new: set[str] = set()
        self._changed = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._report(), name=f"dibs-roster-{namespace}")

    def add(self, worker: Worker, tasks: Sequence[str] | None) -> str:
        """Add a worker and answer the key to remove it with."""
        skills = NO_TASK if tasks is None else skill_set(tasks) if tasks else ANY_TASK
        if tasks:
            self._skills[skills] = tasks, self._skills.get(skills, ((), 0))[1] + 1
        # The worker's own name stands in front, since workers are listed by it.
        key = f"{worker.info().worker_id} {uuid.uuid4().hex}"
        self._workers[key] = worker, skills
        self._new.add(key)
        self._changed.set()
        return key

    def again(self, key: str) -> None:
        """Report a worker at once."""
        self._new.add(key)
        self._changed.set()

    def remove(self, key: str) -> None:
        """Remove a worker."""
        _, skills = self._workers.pop(key)
        names, count = self._skills.pop(skills, ((), 1))
        if count > 1:
            self._skills[skills] = names, count - 1
        self._new.discard(key)
        self._gone.add(key)
        self._changed.set()

    def infos(self) -> list[pb.WorkerInfo]:
        """How its workers stand."""
        return [worker.info() for worker, _ in self._workers.values()]

    @property
    def is_empty(self) -> bool:
        """Whether there are no workers, and Redis knows it."""
        return not self._workers and not self._gone

    def end(self) -> None:
        """End in a moment, if there is nothing left to report."""
        self._closing = True
        self._changed.set()

    async def close(self) -> None:
        """Report what is left to report, and end."""
        self.end()
        await self._task

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        everybody_at = loop.time() + _REPORT_S
        while True:
            self._changed.clear()
            closing, new, gone = self._closing, tuple(self._new), tuple(self._gone)
            everybody = loop.time() >= everybody_at
            if everybody:
                everybody_at = loop.time() + _REPORT_S
            keys = tuple(self._workers) if everybody else new
            if keys or gone:
                try:
                    await self._engine.workers.report(
                        self._namespace,
                        [self._report_of(key) for key in keys],
                        gone,
                        {skills: names for skills, (names, _) in self._skills.items()},
                    )
                except EngineError as error:
                    # The next one tells everything again.
                    self._failing.note(
                        self._namespace, "could not report the workers of namespace %s: %s", self._namespace, error
                    )
                else:
                    self._failing.end(self._namespace)
                    self._new.difference_update(new)
                    self._gone.difference_update(gone)
                    if new:
                        self._came(self._namespace)
            if closing:
                return
            await self._wait(everybody_at)

    def _report_of(self, key: str) -> WorkerReport:
        worker, skills = self._workers[key]
        info = worker.info()
        info.broker_id = self._broker_id
        return WorkerReport(key, skills, info.SerializeToString())

    async def _wait(self, until: float) -> None:
        """Until somebody comes or goes, or it is time to report everybody."""
        try:
            async with asyncio.timeout_at(until if self._workers or self._gone else None):
                await self._changed.wait()
        except TimeoutError:
            return
