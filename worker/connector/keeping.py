"""Keeps the task process of a number running: starts it, and replaces it when it dies."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from dibs.contract.pauses import Pauses

from ..shared.hello import Hello
from ..shared.logs import Said
from ..shared.settings import EXIT_UNFIT
from ..shared.sorts import Sort
from .kept_lane import KeptLane
from .recycling import Recycling
from .settling import how_ended
from .task_process import Program, TaskProcess

_log = logging.getLogger("dibs.worker")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
#: The longest wait for the next process once it is to stop, and there is something that no other can run.
_LAST_PAUSE_S = 1.0
#: A process that lived so long did not crash at its start.
_LIVED_S = 10.0
#: Tasks that a line names.
_LISTED = 5


class Kept:
    """The process of a number, whichever it is.

    Args:
        number: from 1.
        program: what it runs.
        greeted: called with each hello.

    Attributes:
        lanes: of whichever process it is, as hands.
        ending: nothing begins any more.
        unfit: the process could not work from the start.
        crashed_at_stop: it crashed, or had to be killed, when it was told to stop.
    """

    def __init__(self, number: int, program: Program, greeted: Callable[[Hello], None]) -> None:
        self.unfit = False
        self.crashed_at_stop = False
        self._number = number
        self._program = program
        self._counts = program.settings.max_tasks_per_process > 0
        self._greeted = greeted
        #: The process that gets what comes; None: there is none at the moment.
        self._current: TaskProcess | None = None
        #: All that live: also the one that starts, and those that retire.
        self._alive: dict[TaskProcess, None] = {}
        settings = program.settings
        self.lanes = {sort: KeptLane(sort, self, settings.stale_after, settings.hard) for sort in Sort}
        self._outboxes = {sort: lane.outbox for sort, lane in self.lanes.items()}
        self._stopping = asyncio.Event()
        #: Set when a pause is to end.
        self._hurry = asyncio.Event()
        #: Nothing begins any more.
        self.ending = False
        #: Nobody can be told anything any more.
        self._ending = False
        self._recycling = Recycling(program.settings)
        #: Those that give no sign of life, and since when.
        self._silent: dict[TaskProcess, float] = {}

    @property
    def current(self) -> TaskProcess | None:
        """The one that gets what comes; None: there is none at the moment."""
        return self._current

    @property
    def processes(self) -> Sequence[TaskProcess]:
        """Those that live."""
        return tuple(self._alive)

    @property
    def _waiting(self) -> bool:
        return any(lane.waiting for lane in self.lanes.values())

    async def keep(self) -> None:
        """Keep one running until `stop` was called and nothing waits for one, or it cannot work from the start."""
        pauses = Pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        first = True
        while not self._stopping.is_set() or self._waiting:
            began = time.monotonic()
            try:
                process = await TaskProcess.start(self, self._outboxes, self._program)
            except OSError as error:
                pause_s = pauses.next_s()
                _log.error(
                    Said("no worker process could be started", number=self._number, reason=str(error), pause=pause_s)
                )
                await self._pause(pause_s)
                continue
            self._alive[process] = None
            self._recycling = Recycling(self._program.settings)
            if self._stopping.is_set() and not self._waiting:  # it was not there yet when the others were told
                process.stop(0)
            await process.left.wait()
            is_first, first = first, False
            if process.code is None:  # it retires, or another one is to take its place
                continue
            if is_first and process.hello is None and process.code == EXIT_UNFIT:
                self.unfit = True
                return
            if time.monotonic() - began >= _LIVED_S:
                pauses.reset()
            if process.told_to_stop and not self._stopping.is_set():  # what it has loaded is old
                continue
            pause_s = pauses.next_s()
            if process.hung:
                continue
            if self._stopping.is_set():
                if self._waiting:
                    await asyncio.sleep(min(pause_s, _LAST_PAUSE_S))
                continue
            how = how_ended(process.code)
            _log.error(
                Said(
                    "worker process crashed, replacing it", number=self._number, pid=process.pid, how=how, pause=pause_s
                )
            )
            await self._pause(pause_s)

    def watch(self, now: float) -> None:
        """Note who gives no sign of life; to be called every second."""
        current = self._current
        if current is not None and (why := self._recycling.beyond(current.pid, current.finished)):
            self._recycle(why)
        for process in self._alive:
            since = process.silent_since(now)
            if since is not None and process not in self._silent:
                self._silent[process] = since
                running = [text for lane in self.lanes.values() for text in lane.running_in(process)]
                _log.warning(
                    Said(
                        "worker process gives no sign of life",
                        number=self._number,
                        pid=process.pid,
                        seconds=round(now - since),
                        running=", ".join(running[:_LISTED]),
                    )
                )
            elif since is None and (before := self._silent.pop(process, None)) is not None:
                seconds = round(now - before)
                _log.warning(
                    Said("worker process is alive again", number=self._number, pid=process.pid, seconds=seconds)
                )
        self._tell_silence()

    def _tell_silence(self) -> None:
        for lane in self.lanes.values():
            lane.silent(min(self._silent.values(), default=None))

    async def _pause(self, pause_s: float) -> None:
        self._hurry.clear()
        if not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._hurry.wait()

    def renew(self, why: str) -> None:
        """Has another process take the place of this one, since code has changed: one that loads the old goes, too."""
        self._recycle(why)
        for process in self._alive:
            if process.hello is None:
                process.stop(0)
        self._hurry.set()

    def _recycle(self, why: str) -> None:
        """Has another process take the place of this one, which retires when that is ready, and cuts nothing off.

        Does nothing when that is under way: the other one loads its tasks, and this one goes on with its own meanwhile.
        """
        current = self._current
        if current is not None and not current.left.is_set():
            _log.info(Said("worker process is to be replaced", number=self._number, pid=current.pid, why=why))
            current.left.set()
            self._hurry.set()

    def stop(self) -> None:
        """Start no more processes but for items that nobody else can run."""
        self._stopping.set()
        self._hurry.set()
        for process in self._alive:
            if process.hello is None and not self._waiting:
                process.stop(0)

    def abandon(self) -> None:
        """End all processes: there is no more time for what runs, which is settled when they have ended. Idempotent."""
        if not self.ending:
            self.ending = True
            self._stopping.set()
            for lane in self.lanes.values():
                lane.lose_waiting()
            for process in self.processes:
                process.stop(0)
            self._ring()

    def kill(self) -> None:
        """End all processes at once; `end` returns when they have."""
        self._ending = True
        for process in self._alive:
            process.kill()

    def print_stacks(self) -> None:
        """Has processes print what their threads are doing, but for those that load their tasks."""
        for process in self._alive:
            if process.hello is not None:
                process.send_signal(signal.SIGUSR2)

    async def end(self) -> None:
        """End all processes: what still runs in them is left unfinished."""
        self._stopping.set()
        self._ending = True
        for lane in self.lanes.values():
            lane.forget_waiting()
        for process in self.processes:
            process.stop(0)
        await asyncio.gather(*(process.wait() for process in self.processes))

    # As owner of processes

    def said_hello(self, process: TaskProcess, hello: Hello) -> None:
        """Deals it what waits."""
        if process.told_to_stop:
            return
        _log.info(Said("worker process started", number=self._number, pid=process.pid))
        before, self._current = self._current, process
        if before is not None:
            before.retire()
        for lane in self.lanes.values():
            lane.deal_waiting()
            if self._stopping.is_set():
                lane.hand_back()
        self._greeted(hello)
        self._ring()

    def reported(self, sort: Sort, released: int) -> None:
        """Pass the news on."""
        lane = self.lanes[sort]
        lane.released += released
        lane.outbox.bell.ring_here()
        if self._counts and self._current is not None and (why := self._recycling.after(self._current.finished)):
            self._recycle(why)

    def retires(self, process: TaskProcess) -> None:
        """Has another one take its place, while it ends what it runs."""
        if self._current is process:
            self._current = None
        process.stop(self._program.settings.wait)
        process.left.set()

    def ended(self, process: TaskProcess, code: int) -> None:
        """Settles what it held."""
        del self._alive[process]
        self._silent.pop(process, None)
        self._tell_silence()
        if self._current is process:
            self._current = None
        if self._stopping.is_set() and code not in (0, -signal.SIGTERM) and not process.hung:
            self.crashed_at_stop = True
        how = None if self._ending else how_ended(code)
        # What had begun is not to blame when the process was told to end, and did or was made to; nor for what hung.
        stopped = (process.told_to_stop or process.hung) and code in (0, -signal.SIGKILL)
        for lane in self.lanes.values():
            lane.ended(process, how, stopped=stopped)
        self._ring()

    def _ring(self) -> None:
        for lane in self.lanes.values():
            lane.outbox.bell.ring_here()
