"""The connector of a worker: keeps its task processes and their streams, and passes signals on."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import count, islice
from typing import Any

from dibs.errors import BrokerError
from dibs.rpc.beside import beside
from dibs.v1 import types_pb2 as tpb

from ..shared.hello import Hello
from ..shared.logs import Said
from ..shared.settings import EXIT_UNFIT, MAX_PROCESSES
from ..shared.sorts import Sort, worker_name
from ..shared.stacks import print_stacks
from ..shared.unserved import tell_unserved
from .emptying import until_empty
from .member import Member
from .operator import Operator
from .registering import Registering
from .reloading import Changes, keep_fresh
from .scaling import Scale, keep_scaled
from .task_process import Program

_log = logging.getLogger("dibs.worker")

_WATCH_EVERY_S = 1.0


class Connector:
    """Works through task processes until it is told to stop.

    Each has a stream of its own for each sort of tasks, so that no batch is ever taken apart; here runs none of the
    users' code.

    Args:
        program: what the processes run.
        scale: how many there are.
        greeted: called once, with the first hello.
        refused: called with the reason when no broker takes this worker on.
        burst: stop when no item waits any more.
        reload: what to watch, so that processes are replaced when their code changes; None: nothing.

    Raises:
        ValueError: the number of processes is out of range, or the worker's name is too long for what stands behind it.
    """

    def __init__(
        self,
        program: Program,
        scale: Scale,
        *,
        greeted: Callable[[Hello], None] | None = None,
        refused: Callable[[str], None] | None = None,
        burst: bool = False,
        reload: Changes | None = None,
    ) -> None:
        for sort in Sort:
            name = worker_name(_name_of(program, MAX_PROCESSES), sort, alone=False)
            dataclasses.replace(program.settings, worker_id=name)
        self._program = program
        self._scale = scale
        self._burst = burst
        self._reload = reload
        self._greeted = greeted
        self._hello: asyncio.Future[Hello] | None = None
        self._refused = refused
        #: Those that there are, by number, and what runs them.
        self._members: dict[int, Member] = {}
        self._running: dict[asyncio.Task[bool], Member] = {}
        #: Set when there are others.
        self._changed = asyncio.Event()
        self._stopping = False
        self._crashed = False
        self._exit_code = 0
        self._registering = Registering()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, and then until all processes have ended.

        Returns:
            the exit code: 0 after an orderly stop, 128 plus the signal's number if a second one cut that short,
            `EXIT_UNFIT` if a process could not work from the start, 1 if one crashed while it was stopping.
        """
        self._hello = asyncio.get_running_loop().create_future()
        self.resize(self._scale.least)
        with self._handled_signals():
            try:
                async with AsyncExitStack() as stack:
                    for name, work in self._beside().items():
                        await stack.enter_async_context(beside(work, name))
                    await self._until_ended()
            except asyncio.CancelledError:
                if not self._exit_code:  # by its owner
                    raise
            finally:
                for task in self._running:
                    task.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)
                await self._registering.close()
        return self._exit_code or int(self._crashed)

    @property
    def size(self) -> int:
        """How many processes there shall be."""
        return sum(not member.stopping for member in self._members.values())

    def resize(self, processes: int) -> None:
        """Have so many processes, 1 to 1,000; those with the highest numbers end in peace."""
        if self._stopping:
            return
        going = sorted(number for number, member in self._members.items() if not member.stopping)
        for number in going[processes:]:
            self._members[number].stop()
        # A number whose last process is still ending is not used again before that has ended.
        free = (number for number in count(1) if number not in self._members)
        for number in islice(free, max(0, processes - len(going))):
            member = Member(
                number,
                _name_of(self._program, number),
                self._program,
                self._registering,
                self._tell_greeted,
                Operator(self._program.settings.worker_id, self._command),
            )
            self._members[number] = member
            self._running[asyncio.create_task(member.run(), name=f"dibs-member-{number}")] = member
        self._changed.set()

    def _command(self, command: tpb.WorkerCommand) -> None:
        """Do what an operator wants. The same comes on several streams."""
        if command.WhichOneof("command") == "stop" and not self._stopping:
            _log.info(Said("stopping", reason="an operator wants it", processes=len(self._members)))
            self.stop()
        elif command.processes and command.processes != self.size and not self._stopping:
            _log.info(Said("an operator wants another number of processes", processes=command.processes))
            self.resize(command.processes)

    def renew(self, why: str) -> None:
        """Have all processes replaced; what runs in them ends in peace."""
        for member in self._members.values():
            member.kept.renew(why)

    def stop(self) -> None:
        """Take no more items, and end when what is here is done or the wait is over. Idempotent."""
        if not self._stopping:
            self._stopping = True
            for member in self._members.values():
                member.stop()

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits here or is to be told."""
        return all(member.idle for member in self._members.values())

    @property
    def full(self) -> bool:
        """Whether no process has room in all of its lanes."""
        return all(member.full for member in self._members.values() if not member.stopping)

    def idle_one(self) -> bool:
        """Whether the process with the highest number has nothing to do."""
        going = [number for number, member in self._members.items() if not member.stopping]
        return bool(going) and self._members[max(going)].idle

    def _beside(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What goes on beside the processes."""
        assert self._hello is not None
        doing: dict[str, Coroutine[Any, Any, None]] = {"dibs-watch": self._watch()}
        if self._burst:
            doing["dibs-burst"] = until_empty(self._hello, self._program.settings.queues, self)
        if self._scale.most > self._scale.least:
            doing["dibs-scale"] = keep_scaled(self._hello, self._program.settings, self._scale, self)
        if self._reload is not None:
            doing["dibs-reload"] = keep_fresh(self._reload, self)
        return doing

    async def _until_ended(self) -> None:
        """Return when the last of them has ended."""
        while self._running:
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait((changed, *self._running), return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            for task in [task for task in self._running if task.done()]:
                self._ended(self._running.pop(task), task)

    def _ended(self, member: Member, task: asyncio.Task[bool]) -> None:
        del self._members[member.number]
        self._crashed = self._crashed or (self._stopping and member.kept.crashed_at_stop)
        try:
            fit = task.result()
        except BrokerError as error:
            if self._refused is not None and not self._exit_code:
                self._refused(str(error))
            fit = False
        if not fit:
            self._exit_code = self._exit_code or EXIT_UNFIT
            self.stop()

    async def _watch(self) -> None:
        """Look each second whether all processes give signs of life."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_WATCH_EVERY_S)
            now = time.monotonic()
            # Who was stopped together with this process has had no time yet to say that it is alive.
            if now - before < 2 * _WATCH_EVERY_S:
                for member in self._members.values():
                    member.kept.watch(now)

    def _tell_greeted(self, hello: Hello) -> None:
        assert self._hello is not None
        if not self._hello.done():
            self._hello.set_result(hello)
            if self._greeted is not None:
                self._greeted(hello)
            tell_unserved(self._program.settings.queues, hello.queues)

    @contextmanager
    def _handled_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop it, a second one at once.

        SIGUSR1 stops it however often it comes; SIGUSR2 prints stacks here and in the processes.
        """

        def on_stop(number: signal.Signals) -> None:
            if not self._stopping:
                _log.info(Said("stopping", signal=number.name, processes=len(self._members)))
                self.stop()
                return
            _log.warning(Said("exiting now", signal=number.name))
            self._exit_code = 128 + number
            for member in self._members.values():
                member.kept.kill()
            for task in self._running:
                task.cancel()

        def on_orderly_stop() -> None:
            if not self._stopping:
                on_stop(signal.SIGUSR1)

        def on_look() -> None:
            print_stacks([loop])
            for member in self._members.values():
                member.kept.print_stacks()

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


def _name_of(program: Program, number: int) -> str:
    return f"{program.settings.worker_id}-{number}"
