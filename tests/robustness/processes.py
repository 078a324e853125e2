"""The processes of a run: started, frozen, killed and started again by name, watched for what they use."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from ..support.imports import SOURCES
from ..support.mortal import mortal
from ..support.redis import found_programs

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a process uses.

    Attributes:
        descriptors: open file descriptors.
        resident_kib: memory.
        cpu_s: processor time since its start.
        at: on the monotonic clock.
    """

    descriptors: int
    resident_kib: int
    cpu_s: float
    at: float


class Process:
    """A process in a session of its own that does not outlive this one; its output goes to one file in every life.

    Args:
        name: of it and of its log.
        command: how it is started.
        folder: of its log.
        env: its environment.

    Attributes:
        log: path of its output.
        deaths: ends that nobody asked for, in words.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.deaths: list[str] = []
        self._command, self._env = list(command), dict(env)
        self._popen: subprocess.Popen[bytes] | None = None
        self._end_is_meant = True

    @property
    def pid(self) -> int:
        """Of the process itself."""
        assert self._popen is not None, f"{self.name} has not been started"
        return self._popen.pid

    def start(self) -> None:
        """Start it; it must not be running."""
        assert not self.alive(), f"{self.name} runs already"
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                mortal(self._command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._env,
                cwd=SOURCES,
                start_new_session=True,
            )
        self._end_is_meant = False

    def alive(self) -> bool:
        """Whether it runs. An end that nobody asked for is noted in `deaths`."""
        if self._popen is None:
            return False
        code = self._popen.poll()
        if code is not None and not self._end_is_meant:
            self._end_is_meant = True
            self.deaths.append(f"{self.name} ended by itself with {code}")
        return code is None

    def family(self) -> list[int]:
        """The process and its descendants."""
        found: list[int] = []
        pending = [self.pid]
        while pending:
            pid = pending.pop()
            found.append(pid)
            with suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    pending += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        return found

    def freeze(self) -> None:
        """Stop it and all that it has started; connections stay, nothing is answered."""
        send(signal.SIGSTOP, self.family())

    def thaw(self) -> None:
        """Undo `freeze`."""
        send(signal.SIGCONT, self.family())

    def kill(self) -> list[int]:
        """End it and all that it has started without warning; which processes that were."""
        if not self.alive():
            return []
        self._end_is_meant = True
        family = self.family()
        send(signal.SIGKILL, family)
        assert self._popen is not None
        self._popen.wait()
        return family

    def stop(self, patience_s: float = 30.0) -> None:
        """Tell it to end and wait for that; an exit code other than 0, or none in time, is noted in `deaths`."""
        if not self.alive():
            return
        self._end_is_meant = True
        assert self._popen is not None
        self._popen.terminate()
        try:
            code = self._popen.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.deaths.append(f"{self.name} did not end within {patience_s:g} s of SIGTERM")
            self._end_is_meant = False
            self.kill()
        else:
            if code:
                self.deaths.append(f"{self.name} ended with {code} after SIGTERM")

    def finish(self, patience_s: float) -> None:
        """Wait until it ends by itself, as it is meant to; what goes wrong is noted in `deaths`."""
        assert self._popen is not None
        self._end_is_meant = True
        try:
            code = self._popen.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.deaths.append(f"{self.name} did not end by itself within {patience_s:g} s")
            self.kill()
            return
        if code:
            self.deaths.append(f"{self.name} ended with {code}")

    def usage(self) -> Usage:
        """What the process itself uses."""
        folder = Path(f"/proc/{self.pid}")
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        resident = re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
        assert resident is not None
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        return Usage(len(os.listdir(folder / "fd")), int(resident[1]), cpu_s, time.monotonic())

    def said(self) -> str:
        """All that it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class RedisProcess(Process):
    """A Redis that syncs every write; the newest on this machine.

    Args:
        name: of it.
        port: where it listens.
        folder: of its log.
        data: of what it stores.
        env: its environment.

    Attributes:
        port: where it listens.
        data: folder of what it stores.
    """

    def __init__(self, name: str, port: int, folder: Path, data: Path, env: Mapping[str, str]) -> None:
        data.mkdir(exist_ok=True)
        self.port, self.data = port, data
        programs = found_programs()
        command = [programs[max(programs)], "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"]
        super().__init__(name, command, folder, env)

    def client(self) -> redis.Redis:
        """A connection of the harness's own, which passes no proxy."""
        return redis.Redis(port=self.port, socket_timeout=5.0)

    def start_and_wait(self, patience_s: float = 30.0) -> None:
        """Start it; return when it answers."""
        self.start()
        self.wait(patience_s)

    def wait(self, patience_s: float = 30.0) -> None:
        """Return when it answers."""
        end = time.monotonic() + patience_s
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    assert self.alive(), self.said()
                    assert time.monotonic() < end, self.said()
                    time.sleep(0.02)


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Signal processes; those that are gone are left out."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
