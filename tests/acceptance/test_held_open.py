"""Connections and streams that somebody opens by the thousand and leaves keep nobody out, and leave nothing."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs import Dibs
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support import http2
from ..support.certificates import Authority, replace
from ..support.processes import Broker, running_broker
from ..support.waiting import until

#: As many as there may be descriptors for, of ours and of the broker.
MANY = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 600)
#: Streams of one connection, fewer than `max_concurrent_streams`.
OF_A_CONNECTION = 500
LONGEST_S = 60.0
#: By how much more memory a second round of 30,000 connections and streams may leave: three kibibytes each, where one
#: takes 13 to 15 while it lasts. The allocator keeps now more, now less.
SLACK_BYTES = 100 * 1024 * 1024
#: Connections of the client that is served come and go as well.
FEW = 5
OPTIONS = (
    "--max-connections",
    "12000",
    "--handshake-timeout",
    "1s",
    "--hello-timeout",
    "2s",
    "--max-connection-idle",
    "4s",
)

TASK = tpb.QUEUE_KIND_TASK
HELLO = pb.WorkRequest(
    hello=pb.WorkHello(kind=TASK, worker_id="left", task_names=["task"], queues=["q"]), add_credit=1, says_begun=True
)
LEASE = pb.LeaseRequest(kind=TASK, queues=["q"], get_timeout=Duration(seconds=600), max_items=1)
#: What streams begin with: a hello, nothing at all, a wait.
BEGINNINGS = (("Work", HELLO.SerializeToString()), ("Work", None), ("Lease", LEASE.SerializeToString()))


class Watched:
    """A broker, what it uses, and a client of its own."""

    def __init__(self, broker: Broker, app: Dibs) -> None:
        self._process = psutil.Process(broker.process.pid)
        host, _, port = broker.address.rpartition(":")
        self.address = (host, int(port))
        self.broker = broker
        self.app = app

    def descriptors(self) -> int:
        return self._process.num_fds()

    def memory(self) -> int:
        """Bytes of it that are in memory."""
        return int(self._process.memory_info().rss)

    def serves(self) -> None:
        """It has time for others."""
        queue = self.app.Data("others")
        queue.put_data(["a"])
        assert list(queue.get_data().values()) == ["a"]


@contextmanager
def half_open(address: tuple[str, int]) -> Iterator[list[socket.socket]]:
    """Connections that say nothing."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, LONGEST_S)) for _ in range(MANY)]


@contextmanager
def idle(address: tuple[str, int]) -> Iterator[list[socket.socket]]:
    """Connections that have shaken hands and make no call."""
    with half_open(address) as links:
        for link in links:
            link.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b""))
        yield links


@contextmanager
def streams(address: tuple[str, int]) -> Iterator[list[socket.socket]]:
    """Connections with streams on them, whose owner reads nothing and is gone at the end without a word."""
    links = []
    for number in range(MANY // OF_A_CONNECTION):
        method, begin = BEGINNINGS[number % len(BEGINNINGS)]
        call = http2.headers(f"/dibs.v1.BrokerService/{method}")
        said = b"" if begin is None else http2.message(begin)
        link = socket.create_connection(address, LONGEST_S)
        link.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b""))
        for stream in range(1, 2 * OF_A_CONNECTION, 2):
            link.sendall(http2.frame(http2.HEADERS, http2.END_HEADERS, stream, call))
            if said:
                link.sendall(http2.frame(http2.DATA, 0, stream, said))
        links.append(link)
    try:
        yield links
    finally:
        for link in links:
            # Closing it resets it.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.close()


def until_answered(link: socket.socket) -> None:
    """Returns when the broker has begun to answer a stream; all of them end when nobody answers its pings for 10 s."""
    heard = b""
    while b"application/grpc" not in heard:
        part = link.recv(4096)
        assert part, "closed before anything was answered"
        heard += part


def a_round(watched: Watched) -> None:
    """All three, one after the other; each time all is closed in the end and others are served meanwhile."""
    before = watched.descriptors()
    for hold in (half_open, idle):
        with hold(watched.address):
            watched.serves()
            until(lambda: watched.descriptors() <= before + FEW, f"the end of {hold.__name__}", LONGEST_S)
    with streams(watched.address) as links:
        until_answered(links[0])
        watched.serves()
    until(lambda: watched.descriptors() <= before + FEW, "the end of streams", LONGEST_S)
    until(lambda: not any(watched.app.admin.workers()), "the end of their workers", LONGEST_S)
    watched.serves()


@pytest.mark.timeout(400)
def test_thousands_of_connections_and_streams_that_are_left_leave_nothing(redis_programs: dict[int, str]) -> None:
    with running_broker(*OPTIONS) as broker, Dibs(broker.address, timeout=LONGEST_S) as app:
        watched = Watched(broker, app)
        watched.serves()
        # What a process has once used for so many it keeps, in part, for the next time.
        a_round(watched)
        descriptors, memory = watched.descriptors(), watched.memory()

        a_round(watched)

        assert watched.descriptors() <= descriptors + FEW
        assert watched.memory() <= memory + SLACK_BYTES
        assert "Traceback" not in broker.output


@pytest.mark.timeout(200)
def test_thousands_of_connections_that_never_begin_tls_are_closed_in_time(tmp_path: Path) -> None:
    authority = Authority()
    cert, key = authority.pair().write(tmp_path)
    files = ("--tls-cert", str(cert), "--tls-key", str(key))
    ca = replace(tmp_path / "ca.pem", authority.pem)
    with (
        running_broker(*OPTIONS, *files) as broker,
        Dibs(f"https://{broker.address}", ca=ca, timeout=LONGEST_S) as app,
    ):
        watched = Watched(broker, app)
        watched.serves()
        before = watched.descriptors()
        with half_open(watched.address):
            watched.serves()
            until(lambda: watched.descriptors() <= before + FEW, "the end of them", LONGEST_S)
        watched.serves()
