"""Keeps worker processes running: starts them, replaces those that crash, passes signals on.

The processes are started anew, never forked: gRPC's threads do not survive a fork. Each is in a process group of its
own, so that Ctrl-C reaches this process alone, which tells them; and each holds the end of a pipe that closes when
this process dies, whatever it dies of, so that no worker is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from .backoff import Backoff
from .load import Instance
from .logs import Said
from .settings import WorkerSettings

_log = logging.getLogger("dibs.worker")

#: A process that cannot work for a reason that will not go away, such as a module that cannot be imported, ends with
#: this code (sysexits.h: EX_CONFIG).
EXIT_UNFIT = 78
#: Most processes of one supervisor.
MAX_PROCESSES = 1_000

_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 10.0
#: A process that lived so long did not crash at its start.
_LIVED_S = 10.0
#: What a stopping process gets beyond its wait before it is killed.
_KILL_AFTER_S = 5.0


class Supervisor:
    """Keeps so many processes running until it is told to stop.

    Args:
        command: of the process of a number, from 1, with this file descriptor as its --parent-fd.
        processes: how many, 1 to 1,000.
        wait: seconds that a stopping process takes at most, by its own account.
        environment: of the processes.

    Raises:
        ValueError: the number of processes is out of range.
    """

    def __init__(
        self,
        command: Callable[[int, int], Sequence[str]],
        processes: int,
        wait: float,
        environment: Mapping[str, str],
    ) -> None:
        if not 1 <= processes <= MAX_PROCESSES:
            raise ValueError(f"processes must be between 1 and {MAX_PROCESSES:,}, not {processes!r}")
        self._command = command
        self._count = processes
        self._wait = wait
        self._environment = dict(environment)
        self._stopping = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._exit_code = 0
        #: Read end for the children, write end held open here for as long as this process lives.
        self._lifeline: tuple[int, int] = (-1, -1)

    async def run(self) -> int:
        """Runs until SIGTERM or SIGINT, and then until all processes have ended.

        Returns:
            the exit code: 0 after an orderly stop, 128 plus the signal's number if a second one cut that short,
            `EXIT_UNFIT` if a process could not work from the start, 1 if one crashed while it was stopping.
        """
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[signal.Signals], None]] = {
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_stop,
            signal.SIGUSR2: self._tell,
        }
        self._lifeline = os.pipe()
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler, number)
        try:
            await asyncio.gather(*(self._keep(number) for number in range(1, self._count + 1)))
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
            for end in self._lifeline:
                os.close(end)
        return self._exit_code

    def stop(self) -> None:
        """Tells all processes to stop; they are killed if they take much longer than their wait. Idempotent."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._tell(signal.SIGTERM)
            asyncio.get_running_loop().call_later(self._wait + _KILL_AFTER_S, self._kill)

    def _on_stop(self, number: signal.Signals) -> None:
        if not self._stopping.is_set():
            _log.info(Said("stopping", signal=number.name, processes=len(self._children)))
            self.stop()
        else:
            _log.warning(Said("exiting now", signal=number.name))
            self._exit_code = 128 + number
            self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children.values():
            with suppress(ProcessLookupError):
                child.send_signal(number)

    def _kill(self) -> None:
        for number, child in self._children.items():
            _log.error(Said("worker process does not stop, killing it", number=number, pid=child.pid))
        self._tell(signal.SIGKILL)

    async def _keep(self, number: int) -> None:
        """Keeps the process of that number running."""
        backoff = Backoff(_BACKOFF_FIRST_S, _BACKOFF_MOST_S)
        first = True
        while not self._stopping.is_set():
            began = time.monotonic()
            child = await asyncio.create_subprocess_exec(
                *self._command(number, self._lifeline[0]),
                stdin=asyncio.subprocess.DEVNULL,
                env=self._environment,
                pass_fds=(self._lifeline[0],),
                process_group=0,
            )
            self._children[number] = child
            if self._stopping.is_set():  # it was not there yet when the others were told
                child.send_signal(signal.SIGTERM)
            _log.info(Said("worker process started", number=number, pid=child.pid))
            code = await child.wait()
            del self._children[number]
            if self._stopping.is_set():
                self._note_end(number, child.pid, code)
                return
            if first and code == EXIT_UNFIT:
                self._exit_code = EXIT_UNFIT
                self.stop()
                return
            first = False
            if time.monotonic() - began >= _LIVED_S:
                backoff.reset()
            pause_s = backoff.next_s()
            _log.error(
                Said(
                    "worker process crashed, replacing it", number=number, pid=child.pid, how=_how(code), pause=pause_s
                )
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()

    def _note_end(self, number: int, pid: int, code: int) -> None:
        if code in (0, -signal.SIGTERM):  # the latter before it had begun
            _log.debug(Said("worker process ended", number=number, pid=pid))
        elif self._exit_code == 0:
            self._exit_code = 1
            _log.error(Said("worker process crashed while stopping", number=number, pid=pid, how=_how(code)))


def child_command(
    source: str,
    settings: WorkerSettings,
    number: int,
    parent_fd: int,
    *,
    log_level: str = "info",
    log_format: str = "text",
    worker_id: str | None = None,
) -> list[str]:
    """The command of one worker process.

    Args:
        source: what to load, as for `dibs.worker.load.load`.
        settings: of each process; its worker_id is left out: that of a process has its own number.
        number: of the process.
        parent_fd: ends when the parent does.
        log_level: as for `dibs.worker.logs.configure`.
        log_format: likewise.
        worker_id: name of all processes together. Default: each is called by its host and process id.
    """
    options: dict[str, object] = {
        "queues": ",".join(settings.queues),
        "threads": settings.threads,
        "async-tasks": settings.async_tasks,
        "wait": settings.wait,
        "prefetch": settings.prefetch,
        "horizon": settings.horizon,
        "stale-after": settings.stale_after,
        "worker-id": "" if worker_id is None else f"{worker_id}-{number}",
        "log-level": log_level,
        "log-format": log_format,
        "parent-fd": parent_fd,
    }
    command = [sys.executable, "-m", "dibs.worker", "--no-supervisor", "--processes", "1"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return [*command, "--", source]


def child_environment(instance: Instance | None = None) -> dict[str, str]:
    """The environment of worker processes: this one's, and where `instance` is connected, if it is given."""
    environment = dict(os.environ)
    if instance is not None:
        connection = instance.connection
        target = f"https://{connection.target}" if connection.tls else connection.target
        said = {
            "DIBS_TARGET": target,
            "DIBS_NAMESPACE": connection.namespace,
            "DIBS_TOKEN": connection.token,
            "DIBS_CA_FILE": connection.ca,
            "DIBS_CLIENT_CERT_FILE": connection.cert,
            "DIBS_CLIENT_KEY_FILE": connection.key,
        }
        environment.update({name: str(value) for name, value in said.items() if value is not None})
    return environment


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
