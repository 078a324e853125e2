"""The addresses behind a target: each broker that a call may reach, to be asked by itself."""

from __future__ import annotations

import socket
from dataclasses import replace

from .connection import Connection
from .targets import host_of

#: Brokers that are asked, at most.
MOST_ADDRESSES = 32


def each_address(connection: Connection) -> list[Connection]:
    """A connection to each address of a connection's target; that one alone where there is no more than one.

    Credentials stay, and so does the name that certificates are looked at for.
    """
    target = connection.target
    scheme, colon, listed = target.partition(":")
    if colon and scheme in ("ipv4", "ipv6"):
        found = [f"{scheme}:{address}" for address in listed.split(",")]
    else:
        found = _resolved(target)
    if len(found) < 2:
        return [connection]
    return [_to(connection, address) for address in found[:MOST_ADDRESSES]]


def _resolved(target: str) -> list[str]:
    """The addresses of a host and its port, as targets; of another kind of target none."""
    if target.startswith(("unix", "vsock:", "xds:", "google-c2p:")):
        return []
    host, port = host_of(target), target.rpartition(":")[2]
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    kinds = {socket.AF_INET: "ipv4:{}:{}", socket.AF_INET6: "ipv6:[{}]:{}"}
    targets = [kinds[family].format(*address[:2]) for family, _, _, _, address in found if family in kinds]
    # A host of both kinds is one broker as a rule.
    first = [target for target in targets if target.startswith(targets[0][:4])]
    return list(dict.fromkeys(first))


def _to(connection: Connection, address: str) -> Connection:
    options = connection.channel_options
    if connection.tls and not connection.target.startswith(("ipv4:", "ipv6:")):
        options = (*options, ("grpc.ssl_target_name_override", host_of(connection.target)))
    return replace(connection, target=address, channel_options=options)
