"""Keeps the task process of a number running: starts it, settles what it held when it dies, replaces it."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..backoff import Backoff
from ..begun import BEGUN
from ..hello import Hello
from ..leases import lease_seconds
from ..logs import Said
from ..settings import EXIT_UNFIT
from .hands import Standing
from .held import Batch
from .outbox import Outbox
from .settling import Settled, Verdict, how_ended, settle
from .task_process import Program, TaskProcess

_log = logging.getLogger("dibs.worker")

_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 10.0
#: The longest wait for the next process once it is to stop, and there is something that no other can run.
_LAST_PAUSE_S = 1.0
#: A process that lived so long did not crash at its start.
_LIVED_S = 10.0


class Kept:
    """The process of a number, whichever it is. Has the face of `Hands`.

    Args:
        number: from 1.
        program: what it runs.
        outbox: where what came of items is put.
        greeted: called with each hello.

    Attributes:
        arrived: as of `Hands`.
        released: likewise.
        unfit: the process could not work from the start.
        crashed_at_stop: it crashed, or had to be killed, when it was told to stop.
    """

    def __init__(self, number: int, program: Program, outbox: Outbox, greeted: Callable[[Hello], None]) -> None:
        self.arrived = asyncio.Event()
        self.released = 0
        self.unfit = False
        self.crashed_at_stop = False
        self._number = number
        self._program = program
        self._outbox = outbox
        self._greeted = greeted
        #: The process that gets what comes; None: there is none at the moment.
        self._current: TaskProcess | None = None
        #: All that live: also the one that starts, and those that retire.
        self._alive: dict[TaskProcess, None] = {}
        #: Batches that came while there was no process for them.
        self._waiting: deque[Batch] = deque()
        self._stopping = asyncio.Event()
        #: Nobody can be told anything any more.
        self._ending = False
        #: Reported by processes that are gone, or never dealt.
        self._finished = 0

    @property
    def processes(self) -> Sequence[TaskProcess]:
        """Those that live."""
        return tuple(self._alive)

    @property
    def held(self) -> int:
        """Items here that are not reported."""
        return sum(one.held.count for one in self._alive) + sum(batch.count for batch in self._waiting)

    @property
    def finished(self) -> int:
        """Items that have been reported, in all; those that were handed back are among them."""
        return self._finished + sum(one.held.reported for one in self._alive)

    async def keep(self) -> None:
        """Keeps one running until `stop` was called and nothing waits for one, or it cannot work from the start."""
        backoff = Backoff(_BACKOFF_FIRST_S, _BACKOFF_MOST_S)
        first = True
        while not self._stopping.is_set() or self._waiting:
            began = time.monotonic()
            try:
                process = await TaskProcess.start(self, self._outbox, self._program)
            except OSError as error:
                pause_s = backoff.next_s()
                _log.error(
                    Said("no worker process could be started", number=self._number, reason=str(error), pause=pause_s)
                )
                await self._pause(pause_s)
                continue
            self._alive[process] = None
            if self._stopping.is_set() and not self._waiting:  # it was not there yet when the others were told
                process.stop(0)
            _log.info(Said("worker process started", number=self._number, pid=process.pid))
            await process.left.wait()
            if process.code is None:  # it retires
                continue
            if first and process.hello is None and process.code == EXIT_UNFIT:
                self.unfit = True
                return
            first = False
            if time.monotonic() - began >= _LIVED_S:
                backoff.reset()
            pause_s = backoff.next_s()
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

    async def _pause(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()

    def stop(self) -> None:
        """Starts no more processes but for items that nobody else can run."""
        self._stopping.set()
        for process in self._alive:
            if process.hello is None and not self._waiting:
                process.stop(0)

    def kill(self) -> None:
        """Ends all processes at once; `end` returns when they have."""
        self._ending = True
        for process in self._alive:
            process.kill()

    def print_stacks(self) -> None:
        """Has processes print what their threads are doing, but for those that load their tasks."""
        for process in self._alive:
            if process.hello is not None:
                process.send_signal(signal.SIGUSR2)

    async def end(self) -> None:
        """Ends all processes: what still runs in them is left unfinished."""
        self._stopping.set()
        self._ending = True
        self._waiting.clear()
        for process in self.processes:
            process.stop(0)
        await asyncio.gather(*(process.wait() for process in self.processes))

    # As hands

    def deal(self, batch: Batch, on_wire: int) -> None:
        """Has items run, by the next process if there is none now."""
        self.arrived.set()
        if self._current is None:
            self._waiting.append(batch)
        else:
            self._current.deal(batch, on_wire)

    def standing(self) -> Standing:
        """For what there is room now: nothing, while there is no process."""
        return Standing(0, 0, 0) if self._current is None else self._current.standing

    def hand_back(self) -> None:
        """Hands back what has not begun and can go back."""
        self._release_waiting(lambda arrived, lease_s: True)
        for process in self._alive:
            process.hand_back()

    def look_after(self, now: float) -> None:
        """Hands back what has waited for a process too long; what a process has, it looks after itself."""
        stale_after = self._program.settings.stale_after
        if self._waiting:
            self._release_waiting(
                lambda arrived, lease_s: now - arrived >= min(stale_after, lease_s / 2 or stale_after)
            )

    def rest(self) -> None:
        """Nothing to do: processes forget by themselves what is old."""

    def cancel(self, leases: Iterable[tuple[str, int]], now: float) -> None:
        """Tells items that somebody has cancelled them."""
        for id, token in leases:
            for process in self._alive:
                process.cancel(id, token)

    def running(self) -> Sequence[str]:
        """What runs now: name and id of each."""
        return [
            f"{delivery.content.task_name} {delivery.id}"
            for process in self._alive
            for delivery, mark in process.unreported()
            if mark == BEGUN
        ]

    def newly_begun(self) -> Sequence[tuple[str, int]]:
        """As of `Hands`."""
        return [one for process in self._alive for one in process.held.newly_begun()]

    def forget_told(self) -> None:
        """Likewise."""
        for process in self._alive:
            process.held.forget_told()

    def items(self) -> Iterator[tpb.Delivery]:
        """What is here and not reported; reads everything."""
        for process in self._alive:
            yield from (delivery for delivery, _ in process.unreported())
        for batch in self._waiting:
            yield from batch.deliveries

    # As owner of processes

    def said_hello(self, process: TaskProcess, hello: Hello) -> None:
        """Deals it what waits."""
        if process.told_to_stop:
            return
        self._current = process
        while self._waiting:
            process.deal(self._waiting.popleft(), 0)
        if self._stopping.is_set():
            process.hand_back()
        self._greeted(hello)
        self._outbox.bell.ring_here()

    def reported(self, process: TaskProcess) -> None:
        """Passes the news on."""
        self.released += process.newly_released()
        self._outbox.bell.ring_here()

    def retires(self, process: TaskProcess) -> None:
        """Has another one take its place, while it ends what it runs."""
        if self._current is process:
            self._current = None
        process.stop(self._program.settings.wait)
        process.left.set()

    def ended(self, process: TaskProcess, code: int) -> None:
        """Settles what it held."""
        del self._alive[process]
        if self._current is process:
            self._current = None
        if self._stopping.is_set() and code not in (0, -signal.SIGTERM):
            self.crashed_at_stop = True
        self._finished += process.held.reported + process.held.count
        if not self._ending:
            self._settle(process, code)
        self._outbox.bell.ring_here()

    def _settle(self, process: TaskProcess, code: int) -> None:
        how = how_ended(code)
        # What had begun is not to blame when the process was told to end, and did or was made to.
        stopped = process.told_to_stop and code in (0, -signal.SIGKILL)
        run_here: list[tpb.Delivery] = []
        for delivery, mark in process.unreported():
            self._carry_out(settle(mark, delivery.lease_token, how, stopped=stopped), delivery, how, run_here)
        if run_here:
            self._finished -= len(run_here)
            self._waiting.appendleft(Batch.of(run_here, time.monotonic()))
            if self._current is not None:
                self._current.deal(self._waiting.popleft(), 0)

    def _carry_out(self, settled: Settled, delivery: tpb.Delivery, how: str, run_here: list[tpb.Delivery]) -> None:
        if settled.lost:
            _log.error(
                Said(
                    "worker process ended while it ran a task",
                    how=how,
                    task=delivery.content.task_name,
                    id=delivery.id,
                )
            )
        entries = self._outbox.entries
        if settled.verdict is Verdict.NACK:
            entries.nack(delivery, settled.reason, settled.error)
        elif settled.verdict is Verdict.ACK:
            entries.ack(delivery)
        elif settled.verdict is Verdict.RUN_HERE:
            run_here.append(delivery)

    def _release_waiting(self, wanted: Callable[[float, float], bool]) -> None:
        """Hands back what waits and can go back, by when it arrived and the length of its lease."""
        kept: deque[Batch] = deque()
        for batch in self._waiting:
            rest: list[tpb.Delivery] = []
            for delivery in batch.deliveries:
                lease_s = lease_seconds(delivery)
                if delivery.lease_token and wanted(batch.arrived, lease_s):
                    reason = pb.NACK_REASON_RELEASED if lease_s else pb.NACK_REASON_NOT_BEGUN
                    self._outbox.entries.nack(delivery, reason)
                    self.released += 1
                    self._finished += 1
                else:
                    rest.append(delivery)
            if len(rest) == batch.count:
                kept.append(batch)
            elif rest:
                kept.append(Batch.of(rest, batch.arrived))
        self._waiting = kept
