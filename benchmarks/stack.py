"""The parts under test as processes of their own: Redis, a broker, workers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
_START_S = 30.0


@contextmanager
def process(command: Sequence[str], env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is ended when the with is left; its output is shown if it died before."""
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            yield child
            died = child.poll() not in (None, 0)
        except BaseException:
            died = True
            raise
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            if died:
                output.seek(0)
                sys.stderr.write(output.read().decode(errors="replace")[-4000:])


@dataclass(frozen=True)
class Redis:
    """A Redis without persistence, on loopback: the peers know no unix sockets."""

    port: int
    version: str

    @property
    def url(self) -> str:
        """For redis-py and the broker."""
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> redis.Redis:
        """A client of it."""
        return redis.Redis(port=self.port)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_redis() -> Iterator[Redis]:
    """A new, empty Redis."""
    program = shutil.which("redis-server") or "/usr/bin/redis-server"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"]
        with process([program, *options]), redis.Redis(port=port) as client:
            wait_until(lambda: _answers(client))
            yield Redis(port, str(client.info()["redis_version"]))


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def running_broker(server: Redis, *more: str) -> Iterator[str]:
    """A broker on that Redis, with more options; answers its address."""
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder:
        ready = Path(folder) / "ready"
        options = [
            "--redis",
            server.url,
            "--listen",
            "127.0.0.1:0",
            "--ready-file",
            str(ready),
            "--log-level",
            "warning",
        ]
        with process([sys.executable, "-m", "dibs", "broker", *options, *more]):
            wait_until(ready.exists)
            yield ready.read_text().split()[0]


@contextmanager
def running_worker(target: str, tally: Path, module: str = "benchmarks.dibs_tasks", threads: int = 1) -> Iterator[None]:
    """A worker process of one thread."""
    options = ["--target", target, "--threads", str(threads), "--log-level", "warning"]
    with process([sys.executable, "-m", "dibs", "worker", module, *options], bench_env(tally)):
        yield


def bench_env(tally: Path, server: Redis | None = None) -> dict[str, str]:
    """Environment of a worker or producer of the benchmark."""
    env = {"PYTHONPATH": f"{FOLDER}:{FOLDER / 'peers'}", "DIBS_BENCH_TALLY": str(tally)}
    if server is not None:
        env["DIBS_BENCH_REDIS_PORT"] = str(server.port)
    return env


def wait_until(condition: Callable[[], object], timeout_s: float = _START_S) -> None:
    """Look every few milliseconds; raise TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come to pass in time")
        time.sleep(0.002)


@contextmanager
def running_stack() -> Iterator[tuple[Redis, str]]:
    """Redis and one broker; answers both."""
    with ExitStack() as stack:
        server = stack.enter_context(running_redis())
        yield server, stack.enter_context(running_broker(server))
