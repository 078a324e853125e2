"""One lane of the process of a number, whichever process that is: settles what it held when that dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..shared.begun import BEGUN
from ..shared.leases import lease_seconds
from ..shared.logs import Said
from ..shared.sorts import Sort
from .condition import Condition
from .dealt import Dealt
from .hands import Standing, tell_lost
from .held import Batch
from .outbox import Outbox
from .settling import Settled, Verdict, settle
from .task_process import TaskProcess

_log = logging.getLogger("dibs.worker")


#: How often it is looked what runs, and what does although its lease is over.
_LOOK_EVERY_S = 1.0


class Processes(Protocol):
    """The processes of a number."""

    @property
    def current(self) -> TaskProcess | None:
        """The one that gets what comes; None: there is none at the moment."""

    @property
    def processes(self) -> Sequence[TaskProcess]:
        """Those that live."""

    @property
    def ending(self) -> bool:
        """Whether nothing begins any more."""

    def abandon(self) -> None:
        """As of `Hands`, for all lanes."""


class KeptLane:
    """Has the face of `Hands`.

    Args:
        sort: of the lane.
        of: whose lane.
        stale_after: seconds after which what waits for a process is handed back.
        hard: seconds that a run may go on after its time limit; then its process is replaced.

    Attributes:
        arrived: as of `Hands`.
        condition: likewise.
        released: likewise.
        outbox: where what came of items is put.
        waiting: batches that came while there was no process for them.
    """

    def __init__(self, sort: Sort, of: Processes, stale_after: float, hard: float) -> None:
        self.arrived = asyncio.Event()
        self.condition = Condition()
        self.released = 0
        self.outbox = Outbox()
        self.waiting: deque[Batch] = deque()
        self._sort = sort
        self._of = of
        self._stale_after = stale_after
        self._hard = hard
        #: Reported by processes that are gone, or never dealt.
        self._finished = 0
        self._look_at = 0.0

    @property
    def held(self) -> int:
        """Items here that are not reported."""
        return sum(one.held.count for one in self._parts()) + sum(batch.count for batch in self.waiting)

    @property
    def finished(self) -> int:
        """Items that have been reported, in all; those that were handed back are among them."""
        return self._finished + sum(one.held.reported for one in self._parts())

    def deal(self, batch: Batch, on_wire: int) -> None:
        """Has items run, by the next process if there is none now."""
        self.arrived.set()
        current = self._of.current
        if current is None:
            self.waiting.append(batch)
        else:
            current.lanes[self._sort].deal(batch, on_wire)

    def standing(self) -> Standing:
        """For what there is room now: nothing, while there is no process."""
        current = self._of.current
        return Standing(0, 0, 0) if current is None else current.lanes[self._sort].standing

    def hand_back(self) -> None:
        """Hands back what has not begun and can go back."""
        self._release_waiting(lambda arrived, lease_s: True)
        for part in self._parts():
            part.hand_back()

    def abandon(self) -> None:
        """As of `Hands`. All lanes of the processes end together."""
        self._of.abandon()

    def look_after(self, now: float) -> None:
        """Renews leases, ends what goes on in spite of its limit, hands back what has waited for a process too long."""
        for process in self._of.processes:
            part = process.lanes[self._sort]
            part.renew(now)
            for one in part.overrunning.look(now, self._hard):
                _log.error(
                    Said(
                        "task goes on after its time limit, ending its process",
                        task=one.terms.task_name,
                        id=one.terms.id,
                        pid=process.pid,
                        time_limit=one.terms.limit_s,
                        hard=self._hard,
                    )
                )
                process.end_hung()
        stale_after = self._stale_after
        if self.waiting:
            self._release_waiting(
                lambda arrived, lease_s: now - arrived >= min(stale_after, lease_s / 2 or stale_after)
            )
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            self._note_condition(now)

    def rest(self) -> None:
        """Note that nothing runs; processes forget by themselves what is old."""
        self._note_condition(time.monotonic())

    def cancel(self, leases: Iterable[tuple[str, int]], now: float) -> None:
        """Tells items that somebody has cancelled them."""
        for id, token in leases:
            for part in self._parts():
                part.cancel(id, token)

    def running(self) -> Sequence[str]:
        """What runs now: name and id of each."""
        return [text for process in self._of.processes for text in self.running_in(process)]

    def running_in(self, process: TaskProcess) -> Sequence[str]:
        """What runs in one process: name and id of each; reads everything."""
        return [
            f"{delivery.content.task_name} {delivery.id}"
            for delivery, mark in process.lanes[self._sort].held.unreported()
            if mark == BEGUN
        ]

    def newly_begun(self) -> Sequence[tuple[str, int]]:
        """As of `Hands`."""
        return [one for part in self._parts() for one in part.held.newly_begun()]

    def forget_told(self) -> None:
        """Likewise."""
        for part in self._parts():
            part.held.forget_told()

    def items(self) -> Iterator[tpb.Delivery]:
        """What is here and not reported; reads everything."""
        for part in self._parts():
            yield from (delivery for delivery, _ in part.held.unreported())
        for batch in self.waiting:
            yield from batch.deliveries

    # For who keeps the process

    def deal_waiting(self) -> None:
        """Deals a process what has waited for it."""
        current = self._of.current
        while current is not None and self.waiting:
            current.lanes[self._sort].deal(self.waiting.popleft(), 0)

    def lose_waiting(self) -> None:
        """Give up what waits, since no process will run it: what nobody else may run is lost."""
        self._release_waiting(lambda arrived, lease_s: True)
        waiting, self.waiting = self.waiting, deque()
        for batch in waiting:
            self._finished += batch.count
            for delivery in batch.deliveries:
                tell_lost(delivery)

    def forget_waiting(self) -> None:
        """Drop what waits: nobody can be told anything any more."""
        self.waiting.clear()

    def ended(self, process: TaskProcess, how: str | None, *, stopped: bool) -> None:
        """Settles what a process held, which has ended and is not among the processes any more.

        Args:
            process: the process.
            how: it ended, such as ``SIGSEGV``; None: nobody can be told anything any more.
            stopped: it ended because it was told to.
        """
        held = process.lanes[self._sort].held
        self._finished += held.reported + held.count
        if how is None:
            return
        run_here: list[tpb.Delivery] = []
        for delivery, mark in held.unreported():
            over = process.lanes[self._sort].overrunning.said_of(delivery)
            settled = settle(mark, delivery.lease_token, how, stopped=stopped, over=over)
            if settled.lost:
                text = f"worker process {'was stopped' if stopped else 'ended'} while it ran a task"
                fields = {} if stopped else {"how": how}
                _log.error(Said(text, **fields, task=delivery.content.task_name, id=delivery.id))
            self._carry_out(settled, delivery, run_here)
        if run_here:
            self._finished -= len(run_here)
            self.waiting.appendleft(Batch.of(run_here, time.monotonic()))
            self.deal_waiting()

    def silent(self, since: float | None) -> None:
        """Note that the process gives no sign of life, since when, or some again (None)."""
        if since != self.condition.silent_since:
            self.condition = replace(self.condition, silent_since=since)
            self.outbox.bell.ring_here()

    def _note_condition(self, now: float) -> None:
        overdue = tuple(one for part in self._parts() for one in part.held.overdue(now))
        running = tuple(one for part in self._parts() for one in part.held.runs_long(now))
        if (overdue, running) != (self.condition.overdue, self.condition.running):
            self.condition = replace(self.condition, overdue=overdue, running=running)

    def _parts(self) -> list[Dealt]:
        """Of each process that lives."""
        return [process.lanes[self._sort] for process in self._of.processes]

    def _carry_out(self, settled: Settled, delivery: tpb.Delivery, run_here: list[tpb.Delivery]) -> None:
        entries = self.outbox.entries
        if settled.verdict is Verdict.NACK:
            entries.nack(delivery, settled.reason, settled.error)
        elif settled.verdict is Verdict.ACK:
            entries.ack(delivery)
        elif settled.verdict is Verdict.STOPPED:
            entries.stopped(delivery)
        elif settled.verdict is Verdict.RUN_HERE and self._of.ending:
            tell_lost(delivery)
        elif settled.verdict is Verdict.RUN_HERE:
            run_here.append(delivery)

    def _release_waiting(self, wanted: Callable[[float, float], bool]) -> None:
        """Hands back what waits and can go back, by when it arrived and the length of its lease."""
        kept: deque[Batch] = deque()
        for batch in self.waiting:
            rest: list[tpb.Delivery] = []
            for delivery in batch.deliveries:
                lease_s = lease_seconds(delivery)
                if delivery.lease_token and wanted(batch.arrived, lease_s):
                    reason = pb.NACK_REASON_RELEASED if lease_s else pb.NACK_REASON_NOT_BEGUN
                    self.outbox.entries.nack(delivery, reason)
                    self.released += 1
                    self._finished += 1
                else:
                    rest.append(delivery)
            if len(rest) == batch.count:
                kept.append(batch)
            elif rest:
                kept.append(Batch.of(rest, batch.arrived))
        self.waiting = kept
