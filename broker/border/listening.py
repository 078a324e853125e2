"""Opens the addresses that a broker listens on, and says in one sentence why one cannot be opened."""

from __future__ import annotations

import os
import resource
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

import grpc

from ..config.addresses import with_port
from ..config.settings import Settings
from ..config.units import microseconds
from .tls import Tls

#: Descriptors that connections leave for everything else.
_OWN_FILES = 64


class CannotListen(Exception):
    """An address cannot be listened on; the text is one sentence that names it."""


def server_options(settings: Settings) -> list[tuple[str, int]]:
    """The settings in gRPC's own words."""
    options = {
        "grpc.max_receive_message_length": settings.max_message_bytes,
        "grpc.max_send_message_length": settings.max_message_bytes,
        "grpc.max_allowed_incoming_connections": most_connections(settings),
        "grpc.max_concurrent_streams": settings.max_concurrent_streams,
        # From the first on gRPC ends calls at random, from the second on all: as CANCELLED, without a word of why.
        "grpc.server.max_pending_requests": settings.max_pending_calls,
        "grpc.server.max_pending_requests_hard_limit": settings.max_pending_calls,
        # Half-open connections otherwise stay for long.
        "grpc.server_handshake_timeout_ms": microseconds(settings.handshake_timeout) // 1000,
        "grpc.keepalive_time_ms": microseconds(settings.keepalive_time) // 1000,
        "grpc.keepalive_timeout_ms": microseconds(settings.keepalive_timeout) // 1000,
        # gRPC waits for the longer of the two, and for 60 s unless told otherwise.
        "grpc.http2.ping_timeout_ms": microseconds(settings.keepalive_timeout) // 1000,
        # A worker without work has a stream open and sends nothing for hours.
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": microseconds(settings.min_ping_interval) // 1000,
        # Two brokers on one port would each get some of its connections, and nobody would know which.
        "grpc.so_reuseport": 0,
    }
    if settings.max_connection_idle is not None:
        options["grpc.max_connection_idle_ms"] = microseconds(settings.max_connection_idle) // 1000
    if settings.max_connection_age is not None:
        options["grpc.max_connection_age_ms"] = microseconds(settings.max_connection_age) // 1000
        options["grpc.max_connection_age_grace_ms"] = microseconds(settings.max_connection_age_grace) // 1000
    return list(options.items())


def allow_connections(settings: Settings) -> None:
    """Lets this process open as many files as its connections need, as far as the system does."""
    wanted = settings.max_connections * len(settings.listen) + _OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections(settings: Settings) -> int:
    """Connections at a time on each address, so that those of all leave descriptors for Redis, files and pipes."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    return max(1, min(settings.max_connections, (soft - _OWN_FILES) // len(settings.listen)))


def open_listeners(server: grpc.aio.Server, addresses: Sequence[str], tls: Tls | None) -> tuple[str, ...]:
    """Has a server that has not started listen on addresses.

    Args:
        server: which.
        addresses: unix sockets and host:port.
        tls: for host:port; None: plaintext. Unix sockets always speak that: who may reach them is up to their folder.

    Returns:
        The addresses, with the ports that the system chose for port 0.

    Raises:
        CannotListen: one of them is taken, or not of this host, or not allowed.
    """
    opened = []
    for address in addresses:
        # gRPC says on stderr that it failed, in its own words, and not why.
        reason = _why_not_socket(address) if address.startswith("unix:") else _why_not_port(address)
        if reason:
            raise CannotListen(f"cannot listen on {address}: {reason}")
        try:
            if tls is None or address.startswith("unix:"):
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, tls.credentials())
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {address}: {error}") from None
        opened.append(with_port(address, port))
    return tuple(opened)


def _why_not_socket(address: str) -> str:
    """Why a unix socket cannot be listened on; "": it can."""
    path = Path(address.removeprefix("unix:").removeprefix("//"))
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if not os.access(path.parent, os.W_OK):
        return f"no right to write in {path.parent}"
    # gRPC replaces what is there without asking, but only a socket that nobody answers at may be replaced.
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return "there is a file of that name which is no socket"
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
        return "another process listens there"
    except (FileNotFoundError, ConnectionRefusedError):
        return ""
    except OSError as error:
        return _words(error)


def _why_not_port(address: str) -> str:
    """Why a port cannot be listened on; "": it can."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except OSError as error:
        return _words(error)
    return ""


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
