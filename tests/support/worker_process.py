"""Workers as processes of their own, as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .imports import SOURCES

_LONGEST_S = 30.0


def until(condition: Callable[[], bool], what: str, timeout_s: float = _LONGEST_S) -> None:
    """Returns when the condition holds, of something outside of this process that can only be looked at."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class WorkerProcess:
    """``dibs worker`` with the tasks of `tests.acceptance.jobs`, killed at the end of the with if it still runs.

    Args:
        target: its brokers.
        folder: of the journal that the tasks write, and of its log.
        options: of the command.
        module: what it loads.
    """

    def __init__(
        self, target: str, folder: Path, *options: str, module: str = "tests.acceptance.jobs", ready: bool = True
    ) -> None:
        self._folder = folder
        self._ready = ready
        self._log = folder / f"worker-{time.monotonic_ns()}.log"
        self._command = [sys.executable, "-m", "dibs", "worker", module, "--target", target, *options]
        self.process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Returns its exit code when it has ended."""
        return self.process.wait(_LONGEST_S)

    def says(self, text: str) -> None:
        """Returns when its log has the text."""
        until(lambda: text in self.log, f"{text!r} in its log")

    def __enter__(self) -> WorkerProcess:
        """Starts it; returns when it works, unless told not to wait for that."""
        environment = {**os.environ, "JOBS_FOLDER": str(self._folder), "PYTHONPATH": str(SOURCES / "clients/python")}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=SOURCES
            )
        if self._ready:
            self.says("tasks=")
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, and with it the processes that it watches over."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.terminate()
                self.process.wait(_LONGEST_S)
