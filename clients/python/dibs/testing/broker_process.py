"""A real broker with a private Redis, as a process that ends with this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DibsError

_START_S = 60.0
_STOP_S = 20.0
_LOOK_S = 0.01
#: Not for a broker of our own: where others listen, and what they work on.
_PREFIX = "DIBS_"


@contextmanager
def broker_process() -> Iterator[str]:
    """Inside the with a broker listens on a free port of this machine.

    Yields:
        where it is.

    Raises:
        DibsError: it does not start; the text says why: no Redis server, or a part of dibs that is not installed.
    """
    folder = Path(tempfile.mkdtemp(prefix="dibs-test-"))
    ready, log = folder / "ready", folder / "log"
    words = ["broker", "--listen", "127.0.0.1:0", "--ready-file", str(ready), "--data-dir", str(folder / "redis")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "dibs.cli.child", str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                # Not for the terminal's Ctrl-C: tests that it interrupts still clean up.
                start_new_session=True,
            )
        try:
            yield _address(process, ready, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _address(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while not ready.exists():
        lines = log.read_text(errors="replace").strip().splitlines()
        if process.poll() is not None:
            why = lines[-1] if lines else f"it ended with {process.returncode}"
            raise DibsError(f"no broker for tests, which need dibs[broker] and a Redis server or dibs[embedded]: {why}")
        if time.monotonic() > deadline:
            raise DibsError(f"no broker for tests: it does not listen after {_START_S:g} s")
        time.sleep(_LOOK_S)
    return ready.read_text().split()[0]
