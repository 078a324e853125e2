"""Addresses to listen on: `host:port`, `[v6]:port` or `unix:/path`."""

from __future__ import annotations

import ipaddress
import re

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^:\[\]\s]+):(\d{1,5})")
#: Longest path of a unix socket that every system takes, in bytes.
MAX_SOCKET_PATH = 103


def check_address(address: str) -> str:
    """The address if it can be listened on. Raises ValueError saying what is wrong with it."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path:
            raise ValueError(f"{address!r} lacks the path of the socket")
        if len(path.encode()) > MAX_SOCKET_PATH:
            raise ValueError(f"the path of {address!r} is longer than {MAX_SOCKET_PATH} bytes")
        return address
    match = _HOST_PORT.fullmatch(address)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"{address!r} must be host:port, [v6 address]:port or unix:/path")
    return address


def is_local(address: str) -> bool:
    """Whether only this host can reach the address: a unix socket or a loopback interface."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def with_port(address: str, port: int) -> str:
    """The address with the port that the system chose for port 0."""
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
