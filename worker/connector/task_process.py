"""One task process, as its connector sees it: what it was dealt, what it says, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from ..shared import frames
from ..shared.hello import Hello, UnknownFormat
from ..shared.logs import Said
from ..shared.pair import End, new_pair
from ..shared.settings import WorkerSettings
from ..shared.sorts import Sort
from .dealt import Dealt
from .outbox import Outbox

_log = logging.getLogger("dibs.worker")

#: Bytes read at once.
_READ = 1 << 18
#: Buffers handed to the kernel in one write; it takes 1,024 at most.
_AT_ONCE = 64
#: The most that a frame can carry.
_MAX_MS = frames.MODULO - 1
#: What a process that ends gets, beyond its wait, before it is killed.
KILL_AFTER_S = 5.0
#: What a process that hangs gets to print where it stands.
_STACKS_S = 0.5
#: A process that gave no sign of life for so long is told of. It may well work: nothing is done about it.
SILENT_AFTER_S = 10.0


@dataclass(frozen=True)
class Program:
    """What task processes run.

    Attributes:
        source: what to load, as for `dibs.worker.process.load.load`.
        settings: of each process.
        log_level: as for `dibs.worker.shared.logs.configure`.
        log_format: likewise.
        environment: of each process.
    """

    source: str
    settings: WorkerSettings
    log_level: str
    log_format: str
    environment: Mapping[str, str]

    def command(self, stream: int, memory: int) -> list[str]:
        """The command of a process that inherits these descriptors."""
        options: dict[str, object] = {
            "stream": stream,
            "memory": memory,
            "threads": self.settings.threads,
            "async-tasks": self.settings.async_tasks,
            "wait": self.settings.wait,
            "prefetch": self.settings.prefetch,
            "horizon": self.settings.horizon,
            "stale-after": self.settings.stale_after,
            "log-runs": self.settings.log_runs,
            "log-level": self.log_level,
            "log-format": self.log_format,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "dibs.worker.process", *words, "--", self.source]


class Owner(Protocol):
    """Who keeps the process."""

    def said_hello(self, process: TaskProcess, hello: Hello) -> None:
        """Its tasks are loaded; items may be dealt."""

    def reported(self, sort: Sort, released: int) -> None:
        """Items of a lane are done, so many were handed back, or it stands otherwise than before."""

    def retires(self, process: TaskProcess) -> None:
        """It wants no more items."""

    def ended(self, process: TaskProcess, code: int) -> None:
        """It has ended, and everything that it said has been read."""


class TaskProcess:
    """A running process. It is started in a group of its own, so that Ctrl-C reaches the connector alone.

    Args:
        owner: told what happens.
        outboxes: where what came of items of each lane is put.
        end: of the pair.
        child: the process.

    Attributes:
        lanes: what each was dealt.
        hello: what it said of itself; None: its tasks are not loaded yet.
        told_to_stop: so its end is no crash, and no others come to it.
        hung: a task of it goes on after its limit, for which it is ended.
        left: set when it has ended, wants no more items, or another one is to take its place.
        code: of its end; None: it lives.
    """

    def __init__(
        self, owner: Owner, outboxes: Mapping[Sort, Outbox], end: End, child: asyncio.subprocess.Process
    ) -> None:
        self.lanes = {
            sort: Dealt(sort, end.memory.tables[sort], outbox, self._write) for sort, outbox in outboxes.items()
        }
        self.hello: Hello | None = None
        self.told_to_stop = False
        self.hung = False
        self.left = asyncio.Event()
        self.code: int | None = None
        self._owner = owner
        self._memory = end.memory
        self._stream = end.socket
        self._child = child
        self._reader = frames.Reader()
        self._buffer = memoryview(bytearray(_READ))
        #: What the socket has not taken yet; bounded by the credit.
        self._backlog: deque[memoryview] = deque()
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._stream.setblocking(False)
        self._loop.add_reader(self._stream, self._readable)
        self._watching = asyncio.create_task(self._watch(), name=f"dibs-process-{child.pid}")

    @classmethod
    async def start(cls, owner: Owner, outboxes: Mapping[Sort, Outbox], program: Program) -> TaskProcess:
        """Start one. It is executed anew, never forked: threads of gRPC do not survive a fork."""
        end, far = new_pair()
        stream, memory = far.descriptors
        try:
            child = await asyncio.create_subprocess_exec(
                *program.command(stream, memory),
                stdin=asyncio.subprocess.DEVNULL,
                # Tasks may fork; gRPC's own handlers of that crash children beside an asyncio channel.
                env={**program.environment, "GRPC_ENABLE_FORK_SUPPORT": "0"},
                pass_fds=far.descriptors,
                process_group=0,
            )
        except BaseException:
            end.socket.close()
            raise
        finally:
            far.close()
        return cls(owner, outboxes, end, child)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    @property
    def finished(self) -> int:
        """Tasks that it has run."""
        return sum(lane.finished for lane in self.lanes.values())

    def silent_since(self, now: float) -> float | None:
        """When it gave its last sign of life, on the monotonic clock, if that is long ago; None: it gives some.

        A thread of it gives one each second, which a task that holds the interpreter keeps from it, as does whatever
        freezes the process. While it loads its tasks, and when it is to stop, nothing is expected of it.
        """
        if self.hello is None or self.told_to_stop:
            return None
        since = self._memory.alive_at
        return since if now - since >= SILENT_AFTER_S else None

    def retire(self) -> None:
        """Has it begin no more than it must, and end when it is done, however long that takes."""
        for lane in self.lanes.values():
            lane.hand_back()
        self._tell_to_stop(_MAX_MS)

    def stop(self, wait_s: float) -> None:
        """Has it end when it is done, or when the time is over; it is killed if it takes much longer.

        May be said again with less time.
        """
        self._tell_to_stop(int(min(wait_s * 1000, _MAX_MS)))
        if self._child.returncode is None:
            self._loop.call_later(wait_s + KILL_AFTER_S, self._kill_late, "worker process does not stop, killing it")

    def _tell_to_stop(self, wait_ms: int) -> None:
        if not self.told_to_stop and self.hello is None:
            self.send_signal(signal.SIGTERM)
        self.told_to_stop = True
        self._write(frames.frame(frames.STOP, wait_ms))

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    def end_hung(self) -> None:
        """End it because a task goes on after its limit: where it stands is printed first, if that is possible."""
        if not self.hung:
            self.hung = True
            self.send_signal(signal.SIGUSR2)
            self._loop.call_later(_STACKS_S, self._kill_group)

    def _kill_group(self) -> None:
        """End it together with what its tasks have started, which a task may be waiting for."""
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Return when it has ended and its owner has been told."""
        await self._watching

    def _kill_late(self, why: str) -> None:
        if self._child.returncode is None:
            _log.error(Said(why, pid=self.pid))
            self.kill()

    async def _watch(self) -> None:
        code = await self._child.wait()
        try:
            self._end(code)
        except Exception:  # noqa: BLE001 - the process is to be replaced all the same
            _log.exception(Said("what a worker process held is not settled; leases bring it back", pid=self.pid))
        finally:
            self.code = code
            self.left.set()

    def _end(self, code: int) -> None:
        # A child of a task may hold the other end open: what counts is that the process is gone.
        if self._open:
            self._read_all()
        self._close()
        self._owner.ended(self, code)

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._stream)
            self._loop.remove_writer(self._stream)
            self._backlog.clear()
            self._stream.close()

    def _readable(self) -> None:
        try:
            if self._read():
                return
        except BlockingIOError:
            return
        except Exception:  # noqa: BLE001 - what it says makes no sense, so that it is no use
            _log.exception(Said("worker process says what cannot be read, killing it", pid=self.pid))
            self.kill()
        # Otherwise it has closed its end: it dies, as will be seen in a moment, or a task closes what is not its own.
        self._close()
        self._loop.call_later(KILL_AFTER_S, self._kill_late, "worker process has closed its stream, killing it")

    def _read_all(self) -> None:
        """Read what the dead process had written."""
        with contextlib.suppress(BlockingIOError, frames.FrameError, ValueError):
            while self._read():
                pass

    def _read(self) -> bool:
        """Read once; False: the stream has ended."""
        try:
            count = self._stream.recv_into(self._buffer)
        except ConnectionError:
            return False
        for frame in self._reader.feed(self._buffer[:count]):
            self._take(frame)
        return count > 0

    def _take(self, frame: frames.Frame) -> None:
        if frame.kind == frames.DONE:
            sort = Sort(frame.lane)
            self._owner.reported(sort, self.lanes[sort].take_done(frame))
        elif frame.kind == frames.HELLO:
            self._take_hello(frame)
        elif frame.kind == frames.RETIRE:
            self._owner.retires(self)

    def _take_hello(self, frame: frames.Frame) -> None:
        try:
            self.hello = Hello.from_frame(frame)
        except UnknownFormat as error:
            _log.error(Said(str(error)))
            self.kill()
            return
        for sort, lane in self.hello.lanes.items():
            self.lanes[sort].greeted(lane.slots)
        self._owner.said_hello(self, self.hello)

    def _write(self, *parts: bytes) -> None:
        """Write without a copy; what the socket does not take waits."""
        if self._open:
            waiting = bool(self._backlog)
            self._backlog.extend(map(memoryview, parts))
            if not waiting and not self._write_on():
                self._loop.add_writer(self._stream, self._writable)

    def _writable(self) -> None:
        if self._write_on():
            self._loop.remove_writer(self._stream)

    def _write_on(self) -> bool:
        """Write what waits; True: everything."""
        backlog = self._backlog
        try:
            while backlog:
                sent = self._stream.sendmsg(list(islice(backlog, _AT_ONCE)))
                while sent:
                    part = backlog.popleft()
                    if sent < len(part):
                        backlog.appendleft(part[sent:])
                        break
                    sent -= len(part)
        except BlockingIOError:
            return False
        except OSError:
            # It is dead or dying, and what becomes of its items is decided then.
            backlog.clear()
        return True
