"""Tests with a real broker and a real worker in threads of the test's own process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING

from ..admin import queues
from ..client.async_dibs import AsyncDibs
from ..client.dibs import Dibs
from ..errors import DibsError
from ..rpc import operations
from ..rpc.connection import Connection
from ..rpc.flow import do
from ..rpc.operations import MAX_BATCH
from ..rpc.times import Seconds, to_seconds
from ..tasks.context import AFTER_FORK, RunningTask
from ..tasks.middleware import Middleware, TaskWithin, Wrappable
from ..v1 import types_pb2 as tpb
from .brokered import GROUP, AsyncOnBroker, OnBroker, register

if TYPE_CHECKING:
    from ..worker.runtime import Worker

_LOOK_S = 0.01
#: An at-most-once item that keeps nothing is nowhere between broker and worker. Runs of schedules are taken not to be
#: there after so long; calls of this process are waited for longer, for it is known which have run.
_ON_THE_WAY_S = 0.05
_CALLS_ON_THE_WAY_S = 2.0
_STOP_S = 10.0


class WithWorker(OnBroker):
    """A real worker runs what is enqueued, as soon as it is; see `with_worker`.

    Attributes:
        calls: as of `OnBroker`.
        aio: likewise; `run_until_idle` as well.
        target: where the broker is.
    """

    aio: AsyncWithWorker

    def __init__(self, target: str, instances: Sequence[Dibs | AsyncDibs], threads: int = 1) -> None:
        super().__init__(target, instances)
        self.aio = AsyncWithWorker(self)
        self._threads = threads
        self._ran = _Ran()
        self._workers: dict[Dibs, _Working] = {}

    def run_until_idle(self, timeout: Seconds = 30) -> None:
        """Wait until the worker has run everything that is due, and what that enqueued.

        Args:
            timeout: how long at most; seconds or a timedelta.

        Raises:
            DibsError: it has not by then, and the text says what is left; or the worker has ended.
        """
        deadline = time.monotonic() + to_seconds(timeout, "timeout")
        self._start()
        idle_since: float | None = None
        while True:
            left = [text for instance in self.instances for text in self._left(instance)]
            now = time.monotonic()
            if left:
                idle_since = None
            else:
                idle_since = idle_since or now
                idle_s = now - idle_since
                if idle_s >= _CALLS_ON_THE_WAY_S or (idle_s >= _ON_THE_WAY_S and not self._on_the_way()):
                    return
            if left and now >= deadline:
                raise DibsError(f"the worker is not idle after {to_seconds(timeout, 'timeout'):g} s: {', '.join(left)}")
            time.sleep(_LOOK_S)

    def run_all(self) -> int:
        """As `run_until_idle`: the worker runs it, not this thread. Returns 0; the runs are not counted."""
        self.run_until_idle()
        return 0

    def _begin(self, stack: ExitStack) -> None:
        stack.callback(self._stop)
        self._start()

    def _start(self) -> None:
        """Start workers, or start those anew that do not know all tasks any more."""
        for instance in self.instances:
            names, working = instance.registry.names(), self._workers.get(instance)
            if working is not None and working.names == names:
                continue
            if working is not None:
                working.stop()
            if names:
                self._workers[instance] = _Working(instance, self._threads, self._ran)

    def _stop(self) -> None:
        for working in self._workers.values():
            working.stop()
        self._workers.clear()

    def _on_the_way(self) -> bool:
        """Whether a call of this process may be between broker and worker: nobody knows it, and it has not run."""
        ids = [call.id for call in self.calls if call.id not in self._ran.ids]
        if not ids:
            return False
        known: set[str] = set()
        for instance in self.instances:
            for at in range(0, len(ids), MAX_BATCH):
                found = instance.run(do(operations.result(instance.namespace, ids[at : at + MAX_BATCH])))
                known |= {one.id for one in found if one.state != tpb.ITEM_STATE_UNKNOWN}
        return any(id not in known and id not in self._ran.ids for id in ids)

    def _left(self, instance: Dibs) -> list[str]:
        found = instance.run(queues.queues(instance.namespace, is_data=False))
        # Parked items wait for another worker.
        counts = {one.name: one.ready + one.leased - sum(task.items for task in one.parked_tasks) for one in found}
        texts = [f"{count} in queue {name}" for name, count in counts.items() if count > 0]
        working = self._workers.get(instance)
        if working is not None:
            working.check()
        if working is not None and working.held:
            texts.append(f"{working.held} with the worker")
        return texts


class AsyncWithWorker(AsyncOnBroker):
    """`run_until_idle`, `run_all` and `advance` for asyncio."""

    def __init__(self, of: WithWorker) -> None:
        super().__init__(of)
        self._worker = of

    async def run_until_idle(self, timeout: Seconds = 30) -> None:
        """As `WithWorker.run_until_idle`."""
        await asyncio.to_thread(self._worker.run_until_idle, timeout)

    async def run_all(self) -> int:
        """As `WithWorker.run_all`."""
        await self.run_until_idle()
        return 0


class _Ran(Middleware):
    """Notes which items have run.

    Attributes:
        ids: theirs.
    """

    def __init__(self) -> None:
        self.ids: set[str] = set()

    @contextmanager
    def running(self, task: RunningTask) -> Iterator[None]:
        """Note it when it is over."""
        try:
            yield
        finally:
            self.ids.add(task.taskid)

    def noting(self, find: Callable[[str], Wrappable | None]) -> Callable[[str], TaskWithin | None]:
        """What finds the same tasks, with this around them."""

        def found(name: str) -> TaskWithin | None:
            task = find(name)
            return None if task is None else TaskWithin(task, [self])

        return found


class _Working:
    """One worker in a thread.

    Attributes:
        names: of the tasks that it knows.
    """

    def __init__(self, instance: Dibs, threads: int, ran: _Ran) -> None:
        from ..worker.runtime import Worker
        from ..worker.shared.settings import WorkerSettings

        self.names = instance.registry.names()
        register(instance)
        AFTER_FORK.run()
        instance.registry.layers.process_started()
        settings = WorkerSettings(threads=threads, worker_id=GROUP, wait=_STOP_S)
        connection = instance.connection
        self._worker: Worker = Worker(
            Connection(**{one.name: getattr(connection, one.name) for one in fields(Connection)}),
            ran.noting(instance.registry.runnable),
            self.names,
            settings,
            register_again=lambda: register(instance),
            sealing=instance.sealing,
            layers=instance.registry.layers,
        )
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dibs-test-worker", daemon=True)
        self._thread.start()

    @property
    def held(self) -> int:
        """Items that it has not reported."""
        return self._worker.held

    def check(self) -> None:
        """Do nothing, unless it has ended.

        Raises:
            DibsError: it has; its own error is the cause.
        """
        if not self._thread.is_alive():
            raise DibsError("the worker of this test has ended by itself") from self._error

    def stop(self) -> None:
        """End it, when what runs has ended."""
        if self._thread.is_alive():
            self._worker.stop()
            self._thread.join(_STOP_S + 1)

    def _run(self) -> None:
        try:
            asyncio.run(self._worker.run())
        except BaseException as error:  # noqa: BLE001 - the test is told
            self._error = error
