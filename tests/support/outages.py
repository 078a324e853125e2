"""A Redis that tests kill, restart and freeze."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .redis import wait_for


class FragileRedis:
    """A server of the test's own on a unix socket, with an append-only file that is synced at every write.

    Args:
        program: the server.
        folder: of its data, kept from run to run.

    Attributes:
        url: for redis-py; the same after a restart.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"
        socket = folder / "redis.sock"
        self.url = f"unix://{socket}"
        self._command = [program, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; returns when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self.url, self._process, self._log)

    def kill(self) -> None:
        """Ends it without any warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Connections stay, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undoes `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def fragile(program: str) -> Iterator[FragileRedis]:
    """A running server, and nothing left of it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dibs-test-"))
    server = FragileRedis(program, folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
