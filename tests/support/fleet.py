"""Two brokers on one Redis, each a process that tests end and start again."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .balancers import free_port

_START_S = 30.0
_STOP_S = 60.0


class BrokerProcess:
    """A broker on a port that it keeps from run to run.

    Args:
        redis_url: its Redis.
        folder: of its ready file and log.
        options: further options of `dibs broker`.

    Attributes:
        address: where it listens.
    """

    def __init__(self, redis_url: str, folder: Path, *options: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._ready = folder / "ready"
        self._log = folder / "log"
        self._command = [sys.executable, "-m", "dibs", "broker", "--listen", self.address, "--redis", redis_url]
        self._command += ["--ready-file", str(self._ready), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it; returns when it listens."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Starts it, and does not wait."""
        # One that was killed leaves it behind.
        self._ready.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def await_ready(self) -> None:
        """Returns when it listens."""
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        while not self._ready.exists():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.01)

    def terminate(self) -> None:
        """Tells it to drain and to end."""
        assert self._process is not None
        self._process.terminate()

    def wait(self) -> int:
        """Returns its exit code when it has ended."""
        assert self._process is not None
        return self._process.wait(_STOP_S)

    def kill(self) -> None:
        """Ends it without any warning; nothing if it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Fleet:
    """The brokers, and nothing left of them after the with; `start` them first.

    Args:
        redis_url: their Redis.
        options: of both.

    Attributes:
        brokers: the two.
    """

    def __init__(self, redis_url: str, *options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dibs-test-")
        folders = [Path(self._folder.name, name) for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        self.brokers = [BrokerProcess(redis_url, folder, *options) for folder in folders]

    @property
    def addresses(self) -> list[str]:
        """Where they listen."""
        return [broker.address for broker in self.brokers]

    def start(self) -> None:
        """Starts both, side by side."""
        for broker in self.brokers:
            broker.launch()
        for broker in self.brokers:
            broker.await_ready()

    def __enter__(self) -> Fleet:
        """As it is."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends both."""
        for broker in self.brokers:
            broker.kill()
        self._folder.cleanup()
