"""A task process, from its first frame to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping

from dibs.codecs.sealing import Sealing
from dibs.tasks.middleware import Layers
from dibs.v1 import broker_pb2 as pb

from ..shared import frames
from ..shared.hello import Hello
from ..shared.logs import Said
from ..shared.pair import End
from ..shared.settings import WorkerSettings
from ..shared.sorts import Sort
from ..shared.stacks import print_stacks
from .coroutines import CLEAN_UP_S
from .item import Runnable, by_sort
from .own_stream import OwnStream
from .reporting import Reporter, leave
from .slots import Slots, stop_all
from .waits import Waits

_log = logging.getLogger("dibs.worker")

#: How often a process that ends looks whether everything is done.
_LOOK_S = 0.01
#: And when that takes longer than so much.
_SELDOM_S = 0.1
_LONG_S = 1.0
#: What a slot gets to finish with an item that has been reported already, even if there is no time left.
_LEAST_S = 0.05
#: What idle slots get to end.
_SLOTS_END_S = 1.0


class Process:
    """Runs what its connector deals it.

    The main thread reads frames, slots run items, and a `Reporter` writes.

    Args:
        end: this end of the pair.
        tasks: what can be run, by name.
        settings: how many at once, and what a stop gives to what runs.
        sealing: decodes arguments and encodes results; None: they are plain.
        layers: told when it has started, and when it stops.
    """

    def __init__(
        self,
        end: End,
        tasks: Mapping[str, Runnable],
        settings: WorkerSettings,
        sealing: Sealing | None = None,
        layers: Layers | None = None,
    ) -> None:
        self._layers = layers or Layers()
        self._stream = OwnStream(end.socket)
        self._wait = settings.wait
        self._reporter = Reporter(self._stream, end.memory)
        waits = Waits(tasks, settings)
        self._slots = {
            sort: Slots(
                sort, some, settings, self._reporter.lanes[sort].entries, end.memory.tables[sort], waits, sealing
            )
            for sort, some in by_sort(tasks).items()
        }
        self._retiring = False
        self._stop_told = False

    @property
    def _held(self) -> int:
        return sum(one.held for one in self._slots.values())

    def run(self, hello: Hello) -> bool:
        """Works until its connector tells it to stop, or is gone.

        SIGTERM and SIGUSR1 make it retire: its connector starts another one and deals it nothing more. SIGINT is for
        the connector. SIGUSR2 prints stacks.

        Returns:
            whether all that was begun has ended.
        """
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda *_: self._reporter.soon(self._retire))
        # A handler, not SIG_IGN, which programs that tasks start would inherit.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGUSR2, lambda *_: print_stacks(self._loops()))
        os.register_at_fork(after_in_child=self._in_forked_child)
        slots = list(self._slots.values())
        for one in slots:
            one.start()
        self._layers.worker_started()
        self._reporter.start(slots, hello.to_frame())
        done = self._read()
        if done is None:
            self._orphaned()
            return False
        done = done or self._abandon()
        self._reporter.flush()
        stop_all(slots, _SLOTS_END_S if done else 0.0)
        return done

    def _loops(self) -> list[asyncio.AbstractEventLoop]:
        return [loop for one in self._slots.values() for loop in one.loops]

    def _read(self) -> bool | None:
        """Deals what comes, until a stop and its end: whether everything is done; None: the connector is gone."""
        try:
            return self._read_on()
        except BaseException:  # noqa: BLE001 - a process that reads nothing would only look alive
            # A task has closed what is not its own, as a rule. The connector sees to what this process held.
            _log.exception("the stream to the connector cannot be read, ending the process")
            leave()

    def _read_on(self) -> bool | None:
        head = bytearray(frames.HEAD.size)
        fill = self._stream.fill
        # When it was told to stop, and when it ends at the latest.
        told_at = 0.0
        deadline: float | None = None
        while True:
            look_s = _LOOK_S if time.monotonic() - told_at < _LONG_S else _SELDOM_S
            if deadline is not None and not self._stream.waits(min(deadline - time.monotonic(), look_s)):
                if not self._held:
                    return True
                if time.monotonic() >= deadline:
                    return False
                continue
            if not fill(head):
                return None
            kind, lane, length, a, b, c = frames.HEAD.unpack(head)
            body = bytearray(length)
            if not fill(body):
                return None
            if kind == frames.ITEMS:
                self._deal(Sort(lane), body, a, b, c)
            elif kind == frames.CANCEL:
                self._slots[Sort(lane)].cancel([(body.decode(), a | b << 32)], time.monotonic())
            elif kind == frames.TAKE:
                self._slots[Sort(lane)].hand_back()
            elif kind == frames.STOP:
                told_at = time.monotonic()
                deadline = told_at + max(a / 1000, _LEAST_S)
                self._tell_of_stop()

    def _deal(self, sort: Sort, body: bytearray, first: int, on_wire: int, arrived_ms: int) -> None:
        deliveries = pb.WorkResponse.FromString(bytes(body)).deliveries
        now = time.monotonic()
        # The clock is that of the machine. Items age in the connector and on the way, too.
        age_s = ((int(now * 1000) - arrived_ms) % frames.MODULO) / 1000
        slots, report = self._slots[sort], self._reporter.lanes[sort]
        slots.deal(deliveries, first, now - age_s, on_wire)
        self._reporter.items_came()
        if report.armed:
            # What has finished by now makes room for more.
            report.ring()
        if self._retiring:
            slots.hand_back()

    def _retire(self) -> None:
        if not self._retiring:
            _log.info(Said("worker process retires", unfinished=self._held, wait=self._wait))
            self._retiring = True
            for one in self._slots.values():
                one.hand_back()
            self._reporter.flush()
            self._reporter.retire()
            self._tell_of_stop()

    def _tell_of_stop(self) -> None:
        """Tells middleware, once, that nothing more is taken."""
        if not self._stop_told:
            self._stop_told = True
            self._layers.worker_stopping()

    def _abandon(self) -> bool:
        """Cancels coroutines, and gives them a moment. What else runs ends with the process.

        Returns:
            whether nothing is left.
        """
        for one in self._slots.values():
            one.abandon()
        cancelled = [one for one in self._slots.values() if one.sort is Sort.ASYNC]
        deadline = time.monotonic() + CLEAN_UP_S
        while any(one.held for one in cancelled) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return not self._held

    def _until_done(self, wait_s: float) -> bool:
        deadline = time.monotonic() + max(wait_s, _LEAST_S)
        while self._held:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_S)
        return True

    def _orphaned(self) -> None:
        """Nobody can be told anything any more; leases bring back what does not finish here."""
        self._reporter.gone = True
        self._tell_of_stop()
        for one in self._slots.values():
            one.drop()
        _log.warning(Said("the connector is gone, ending", unfinished=self._held, wait=self._wait))
        if not self._until_done(self._wait):
            self._abandon()

    def _in_forked_child(self) -> None:
        """A child of a task is no worker: signals are its own matter, and the stream is not."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
        self._stream.close()


def refuse_breakpoints() -> None:
    """Has `breakpoint()` say why it does not work here, unless the environment names a debugger of its own."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("breakpoint() has no terminal in a task process: run the worker with --processes 0")

    if "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = refuse
