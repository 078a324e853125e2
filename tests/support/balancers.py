"""nginx and HAProxy on the loopback interface, with the configurations of deploy/: only addresses are replaced."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from .ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
_START_S = 20.0

#: What belongs to the machine and not to dibs: where nginx writes, and that it stays in the foreground.
_NGINX_MAIN = """
daemon off;
pid {folder}/pid;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/dibs.conf;
}}
"""
#: Where the test asks HAProxy what it knows.
_HAPROXY_EXTRA = "global\n    stats socket {folder}/stats mode 600 level user\n"


@dataclass(frozen=True)
class Balancer:
    """A running balancer.

    Attributes:
        kind: `nginx` or `haproxy`.
        target: where clients connect.
        process: the balancer.
        folder: its files.
    """

    kind: str
    target: str
    process: subprocess.Popen[bytes]
    folder: Path

    def answers(self) -> bool:
        """Whether it can be used, and asked."""
        if self.kind == "haproxy":
            try:
                self._servers()
            except OSError:
                return False
        return accepts(self.target)

    def states(self) -> dict[str, str]:
        """What HAProxy thinks of its servers, such as UP or DOWN."""
        return {row["svname"]: row["status"] for row in self._servers()}

    def open_calls(self) -> dict[str, int]:
        """How many calls HAProxy has open on each of its servers."""
        return {row["svname"]: int(row["scur"]) for row in self._servers()}

    def _servers(self) -> list[dict[str, str]]:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self.folder / "stats"))
            asking.sendall(b"show stat\n")
            answer = b"".join(iter(lambda: asking.recv(65536), b""))
        return [
            row for row in csv.DictReader(io.StringIO(answer.decode())) if row["svname"] not in ("FRONTEND", "BACKEND")
        ]


def accepts(address: str) -> bool:
    """Whether somebody listens on `host:port`."""
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


@contextmanager
def running_balancer(kind: str, brokers: Sequence[str]) -> Iterator[Balancer]:
    """`nginx` or `haproxy` in front of two brokers, and nothing left of it afterwards.

    Skips the test where the program is missing, and fails it there in CI.
    """
    program = _program(kind)
    folder = Path(tempfile.mkdtemp(prefix="dibs-test-"))
    target = f"127.0.0.1:{free_port()}"
    command = {"nginx": _nginx, "haproxy": _haproxy}[kind](folder, target, brokers)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_S
        balancer = Balancer(kind, target, process, folder)
        while not balancer.answers():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.01)
        yield balancer
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def _program(kind: str) -> str:
    found = shutil.which(kind) or shutil.which(kind, path="/usr/sbin:/usr/local/sbin")
    if found is not None:
        return found
    missing = f"no {kind} on this machine"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def _nginx(folder: Path, target: str, brokers: Sequence[str]) -> list[str]:
    shipped = (DEPLOY / "nginx" / "dibs.conf").read_text()
    (folder / "dibs.conf").write_text(_readdressed(shipped, "listen 7411 ", f"listen {target} ", brokers))
    (folder / "nginx.conf").write_text(_NGINX_MAIN.format(folder=folder))
    return ["-c", str(folder / "nginx.conf"), "-e", "stderr"]


def _haproxy(folder: Path, target: str, brokers: Sequence[str]) -> list[str]:
    shipped = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    (folder / "haproxy.cfg").write_text(_readdressed(shipped, "bind :7411 ", f"bind {target} ", brokers))
    (folder / "extra.cfg").write_text(_HAPROXY_EXTRA.format(folder=folder))
    return ["-db", "-f", str(folder / "haproxy.cfg"), "-f", str(folder / "extra.cfg")]


def _readdressed(shipped: str, listens: str, listen: str, brokers: Sequence[str]) -> str:
    """The shipped configuration with other addresses; asserts that each of them is there exactly once."""
    for old, new in [(listens, listen), *((f"broker-{n}:7411", broker) for n, broker in enumerate(brokers, 1))]:
        lines = [line for line in shipped.splitlines() if old in line and not line.lstrip().startswith("#")]
        assert len(lines) == 1, f"{old!r} is {len(lines)} times in the shipped configuration"
        shipped = re.sub(rf"(?m)^{re.escape(lines[0])}$", lines[0].replace(old, new), shipped)
    return shipped
