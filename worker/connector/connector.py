"""The connector of a worker: keeps its task processes and their streams, and passes signals on."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dibs.errors import BrokerError
from dibs.rpc.beside import beside

from ..shared.hello import Hello
from ..shared.logs import Said
from ..shared.settings import EXIT_UNFIT, MAX_PROCESSES, WorkerSettings
from ..shared.sorts import Sort, worker_name
from ..shared.stacks import print_stacks
from ..shared.unserved import tell_unserved
from .keeping import Kept
from .line import Line
from .lines import Lines
from .registering import Registering
from .task_process import Program

_log = logging.getLogger("dibs.worker")

_WATCH_EVERY_S = 1.0


class Connector:
    """Works through so many task processes until it is told to stop.

    Each has a stream of its own for each sort of tasks, so that no batch is ever taken apart; here runs none of the
    users' code.

    Args:
        program: what the processes run.
        processes: how many, 1 to 1,000.
        greeted: called once, with the first hello.
        refused: called with the reason when no broker takes this worker on.

    Raises:
        ValueError: the number of processes is out of range, or the worker's name is too long for what stands behind it.
    """

    def __init__(
        self,
        program: Program,
        processes: int,
        *,
        greeted: Callable[[Hello], None] | None = None,
        refused: Callable[[str], None] | None = None,
    ) -> None:
        if not 1 <= processes <= MAX_PROCESSES:
            raise ValueError(f"processes must be between 1 and {MAX_PROCESSES:,}, not {processes!r}")
        name = program.settings.worker_id
        self._settings = [
            dataclasses.replace(program.settings, worker_id=f"{name}-{number}") for number in range(1, processes + 1)
        ]
        for sort in Sort:
            dataclasses.replace(program.settings, worker_id=worker_name(f"{name}-{processes}", sort, alone=False))
        self._program = program
        self._greeted = greeted
        self._told_first = False
        self._refused = refused
        self._kept: list[Kept] = []
        self._lines: list[Lines] = []
        self._stopping = False
        self._exit_code = 0
        self._registering = Registering()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, and then until all processes have ended.

        Returns:
            the exit code: 0 after an orderly stop, 128 plus the signal's number if a second one cut that short,
            `EXIT_UNFIT` if a process could not work from the start, 1 if one crashed while it was stopping.
        """
        serving = [asyncio.create_task(self._serve(number, one)) for number, one in enumerate(self._settings, 1)]
        with self._handled_signals(serving):
            try:
                async with beside(self._watch(), "dibs-watch"):
                    await asyncio.gather(*serving)
            except asyncio.CancelledError:
                if not self._exit_code:  # by its owner
                    raise
            finally:
                for task in serving:
                    task.cancel()
                await asyncio.gather(*serving, return_exceptions=True)
                await self._registering.close()
        if not self._exit_code and any(kept.crashed_at_stop for kept in self._kept):
            self._exit_code = 1
        return self._exit_code

    def stop(self) -> None:
        """Take no more items, and end when what is here is done or the wait is over. Idempotent."""
        if not self._stopping:
            self._stopping = True
            for kept in self._kept:
                kept.stop()
            for lines in self._lines:
                lines.stop()

    async def _watch(self) -> None:
        """Look each second whether all processes give signs of life."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_WATCH_EVERY_S)
            now = time.monotonic()
            # Who was stopped together with this process has had no time yet to say that it is alive.
            if now - before < 2 * _WATCH_EVERY_S:
                for kept in self._kept:
                    kept.watch(now)

    async def _serve(self, number: int, settings: WorkerSettings) -> None:
        """One process and its streams, from the first hello to the end."""
        first: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()

        def make(sort: Sort, alone: bool) -> Line:
            name = worker_name(settings.worker_id, sort, alone=alone)
            lane = kept.lanes[sort]
            return Line(
                first.result().connection,
                lane,
                lane.outbox,
                dataclasses.replace(settings, worker_id=name),
                register_again=self._registering.again,
            )

        def greeted(hello: Hello) -> None:
            if not first.done():
                first.set_result(hello)
            self._tell_first(hello)
            self._registering.know(hello)
            lines.know({sort: lane.task_names for sort, lane in hello.lanes.items()})

        kept = Kept(number, self._program, greeted)
        lines = Lines(make)
        self._kept.append(kept)
        self._lines.append(lines)
        keeping = asyncio.create_task(kept.keep(), name=f"dibs-keep-{number}")
        try:
            await asyncio.wait((keeping, first), return_when=asyncio.FIRST_COMPLETED)
            if first.done():
                await lines.finished(keeping)
            elif kept.unfit:
                self._give_up()
        except BrokerError as error:
            if self._refused is not None and not self._exit_code:
                self._refused(str(error))
            self._give_up()
        finally:
            await lines.close()
            await kept.end()
            await keeping

    def _give_up(self) -> None:
        self._exit_code = self._exit_code or EXIT_UNFIT
        self.stop()

    def _tell_first(self, hello: Hello) -> None:
        if not self._told_first:
            self._told_first = True
            if self._greeted is not None:
                self._greeted(hello)
            tell_unserved(self._program.settings.queues, hello.queues)

    @contextmanager
    def _handled_signals(self, serving: list[asyncio.Task[None]]) -> Iterator[None]:
        """SIGTERM and SIGINT stop it, a second one at once.

        SIGUSR1 stops it however often it comes; SIGUSR2 prints stacks here and in the processes.
        """

        def on_stop(number: signal.Signals) -> None:
            if not self._stopping:
                _log.info(Said("stopping", signal=number.name, processes=len(self._kept)))
                self.stop()
                return
            _log.warning(Said("exiting now", signal=number.name))
            self._exit_code = 128 + number
            for kept in self._kept:
                kept.kill()
            for task in serving:
                task.cancel()

        def on_orderly_stop() -> None:
            if not self._stopping:
                on_stop(signal.SIGUSR1)

        def on_look() -> None:
            print_stacks([loop])
            for kept in self._kept:
                kept.print_stacks()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_stop, number)
        loop.add_signal_handler(signal.SIGUSR1, on_orderly_stop)
        loop.add_signal_handler(signal.SIGUSR2, on_look)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
                loop.remove_signal_handler(number)
