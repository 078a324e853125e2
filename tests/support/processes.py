"""Real `dibs` processes, as a user starts them. Each is ended with its `with`; its output is shown when that fails."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

GRPCURL = Path(sys.executable).with_name("grpcurl")
_START_S = 60.0
_STOP_S = 60.0


@dataclass(frozen=True)
class Dibs:
    """A running `dibs` process.

    Attributes:
        process: it; its output goes to `log`.
        log: path of what it has printed.
        folder: of its own, removed at the end.
    """

    process: subprocess.Popen[bytes]
    log: Path
    folder: Path

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float = _STOP_S) -> int:
        """Its exit code, when it has ended."""
        return self.process.wait(timeout_s)

    def terminate(self) -> None:
        """Tells it to stop."""
        self.process.terminate()

    def kill(self) -> None:
        """Ends it without any warning, and waits until it is gone."""
        self.process.kill()
        self.process.wait()

    def until_printed(self, text: str, timeout_s: float = _START_S) -> None:
        """Returns when it has printed the text."""
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            assert self.process.poll() is None, f"ended with {self.process.returncode} before it said {text!r}"
            assert time.monotonic() < deadline, f"has not said {text!r}"
            time.sleep(0.01)


@dataclass(frozen=True)
class Broker(Dibs):
    """A running broker.

    Attributes:
        addresses: where it listens.
    """

    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self.addresses[0]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of dibs, and with what is given."""
    # Nor the width of a terminal that processes of pytest-xdist may be told of: it would wrap sentences.
    own = {name: value for name, value in os.environ.items() if not name.startswith("DIBS_") and name != "COLUMNS"}
    return {**own, "PYTHONUNBUFFERED": "1", **(extra or {})}


@contextmanager
def running_dibs(
    *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, folder: Path | None = None
) -> Iterator[Dibs]:
    """`dibs WORDS...`, ended with the with (in peace if it lets itself be)."""
    own = Path(tempfile.mkdtemp(prefix="dibs-test-")) if folder is None else folder
    log = own / "output"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "dibs", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(env),
                cwd=cwd,
            )
        try:
            yield Dibs(process, log, own)
        except BaseException:
            sys.stderr.write(f"--- output of dibs {' '.join(words)}\n{log.read_text(errors='replace')}---\n")
            raise
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
    finally:
        if folder is None:
            shutil.rmtree(own)


@contextmanager
def running_broker(
    *options: str, env: Mapping[str, str] | None = None, listen: str = "127.0.0.1:0"
) -> Iterator[Broker]:
    """A broker that listens; on a private Redis of its own unless the options name one with `--redis`."""
    folder = Path(tempfile.mkdtemp(prefix="dibs-test-"))
    ready = folder / "ready"
    words = ["broker", "--listen", listen, "--ready-file", str(ready), *options]
    if "--redis" not in options and "--data-dir" not in options:
        words += ["--data-dir", str(folder / "redis")]
    try:
        with running_dibs(*words, env=env, folder=folder) as dibs:
            deadline = time.monotonic() + _START_S
            while not ready.exists():
                assert dibs.process.poll() is None, f"the broker ended with {dibs.process.returncode}"
                assert time.monotonic() < deadline, "the broker does not listen"
                time.sleep(0.01)
            yield Broker(dibs.process, dibs.log, folder, tuple(ready.read_text().split()))
    finally:
        _until_redis_is_gone(folder / "redis")
        shutil.rmtree(folder)


def _until_redis_is_gone(data_dir: Path) -> None:
    """Returns when nothing works in a data folder any more: the Redis of a killed broker outlives it a little."""
    lock = data_dir / "redis.lock"
    deadline = time.monotonic() + _STOP_S
    while lock.exists():
        with lock.open("rb") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        assert time.monotonic() < deadline, f"a Redis still works in {data_dir}"
        time.sleep(0.01)


def run_dibs(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A `dibs` that ends by itself."""
    command = [sys.executable, "-m", "dibs", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=_START_S, env=environment(env), check=False)


def grpcurl(
    address: str, method: str, request: str = "{}", *options: str, tls: bool = False
) -> subprocess.CompletedProcess[str]:
    """Calls a method through reflection; the request is JSON."""
    plain = () if tls else ("-plaintext",)
    command: Sequence[str] = [str(GRPCURL), *plain, "-d", request, *options, address, method]
    return subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)


def grpcurl_describe(address: str, symbol: str) -> subprocess.CompletedProcess[str]:
    """What reflection says of a name."""
    command = [str(GRPCURL), "-plaintext", address, "describe", symbol]
    return subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)
