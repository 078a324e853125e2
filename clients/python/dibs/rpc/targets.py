"""Where a broker is, as people write it: read, completed, and refused in a sentence when it makes no sense."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORT = 7411
_TLS_PORT = 443

#: What stands before a target that asks for TLS.
TLS_SCHEME = "https://"
#: Kinds of targets that gRPC knows.
_SCHEMES = ("dns", "unix", "unix-abstract", "vsock", "ipv4", "ipv6", "xds", "google-c2p")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|:)")
_DNS = re.compile(r"dns:(//[^/]*/)?")

#: Where gRPC looks for a proxy, and for what goes without one, in its order.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_NO_PROXIES = ("no_grpc_proxy", "no_proxy")


class Target(NamedTuple):
    """Where a broker is.

    Attributes:
        name: for gRPC.
        tls: whether it asks for TLS.
    """

    name: str
    tls: bool


def read_target(text: str, source: str = "") -> Target:
    """Read a target: ``host``, ``host:port``, ``https://host``, ``unix:/path``, or another one of gRPC's.

    A host without a port gets 7411, or 443 after ``https://``.

    Args:
        text: as it was given.
        source: what gave it, such as a variable, for the error; "": the caller did.

    Raises:
        ValueError: it is none of these.
    """
    stripped = text.strip()
    tls = stripped.startswith(TLS_SCHEME)
    name = stripped.removeprefix(TLS_SCHEME).rstrip("/") if tls else stripped
    scheme = _scheme(name)
    try:
        if scheme is None:
            name = _with_port(name, _TLS_PORT if tls else DEFAULT_PORT)
        elif scheme == "dns":
            start = _DNS.match(name)
            assert start is not None
            name = start[0] + _with_port(name[start.end() :], _TLS_PORT if tls else DEFAULT_PORT)
        elif scheme not in _SCHEMES:
            raise ValueError(f"has the scheme {scheme!r}, which is none of gRPC's")
    except ValueError as error:
        where = f"the target {text!r}" + (f" from {source}" if source else "")
        raise ValueError(f"{where} {error}: it is host:port, unix:/path, or https://host:port for TLS") from None
    return Target(name, tls)


def is_local(target: str) -> bool:
    """Whether a target is on this machine: a unix socket, or a loopback address."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = host_of(target)
    return host in ("localhost", "::1") or host.startswith("127.")


def host_of(target: str) -> str:
    """The host of a target that names one, without its port."""
    host = target.rpartition("/")[2]  # dns:///localhost:7411
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        host = host.removeprefix(scheme)
    return host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.rpartition(":")[0] or host


def proxy_for(target: str, environ: Mapping[str, str]) -> str:
    """The proxy that gRPC goes through to a target, without its password, and the variable that says so; "": none."""
    if is_local(target) or target.startswith("vsock:"):
        return ""
    variable = next((name for name in _PROXIES if environ.get(name)), "")
    without = next((environ[name] for name in _NO_PROXIES if environ.get(name)), "")
    if not variable or any(_covers(entry.strip(), host_of(target)) for entry in without.split(",")):
        return ""
    try:
        parts = urlsplit(environ[variable])
        where = parts.netloc.rpartition("@")[2]
    except ValueError:
        where = ""
    return f"{where or 'a proxy'} ({variable})"


def _scheme(name: str) -> str | None:
    """The scheme of a target; None: it begins with a host."""
    found = _SCHEME.match(name)
    if found is None:
        return None
    scheme = found[1].lower()
    return scheme if found[2] == "://" or scheme in _SCHEMES else None


def _with_port(host: str, port: int) -> str:
    """`host` with its own port, or with `port`."""
    if not host or "/" in host or any(char.isspace() or not char.isprintable() for char in host):
        raise ValueError("names no host" if not host else "names more than a host and a port")
    if host.count(":") > 1 and not host.startswith("["):
        try:
            return f"[{ip_address(host)}]:{port}"
        except ValueError:
            raise ValueError("has more than one port") from None
    name, colon, given = _parts(host)
    if not name:
        raise ValueError("names no host")
    if not colon:
        return f"{host}:{port}"
    if not (given.isascii() and given.isdigit() and 1 <= int(given) <= 65_535):
        raise ValueError(f"has the port {given!r}, which is no number from 1 to 65,535")
    return host


def _parts(host: str) -> tuple[str, str, str]:
    """Host, colon and port of ``host:port`` or ``[v6]:port``; colon and port are "" if there are none."""
    if not host.startswith("["):
        return host.partition(":")
    inside, bracket, rest = host[1:].partition("]")
    if not bracket or (rest and not rest.startswith(":")):
        raise ValueError("has a bracket that does not close around an address")
    return inside, rest[:1], rest[1:]


def _covers(entry: str, host: str) -> bool:
    """Whether an entry of `no_proxy` means a host."""
    if not entry:
        return False
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return host.lower().endswith(entry.lower())
