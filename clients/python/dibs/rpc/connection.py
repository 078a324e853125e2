"""Where the broker is and how to talk to it: target, namespace, credentials, channel options."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import grpc
import grpc.aio
import grpc.experimental

from ..contract.names import DEFAULT_NAMESPACE
from . import forking, greenlets, offline
from .targets import DEFAULT_PORT, TLS_SCHEME, is_local, read_target
from .times import Seconds, to_seconds
from .token_file import TokenFile

if TYPE_CHECKING:
    from _typeshed import StrPath

DEFAULT_TARGET = f"127.0.0.1:{DEFAULT_PORT}"
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_TRY_TIMEOUT_SECONDS = 5.0

Metadata: TypeAlias = tuple[tuple[str, str], ...]

#: gRPC's own retries, by a service config or by themselves: they do not know which calls may be made again.
_RETRIES = "grpc.enable_retries"

#: How long the answer to a ping may take; gRPC waits for the longer of the two, and 60 s unless told otherwise.
_KEEPALIVE_TIMEOUT, _PING_TIMEOUT = "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms"

_CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    # A broker or a network that vanished without a word is noticed in half a minute while something waits for it.
    ("grpc.keepalive_time_ms", 20_000),
    (_KEEPALIVE_TIMEOUT, 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The pauses between calls are ours (see retry.py); the connection itself is to be tried again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    (_RETRIES, 0),
    # Limits of messages are the broker's.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A channel's connection is its own, so that closing the channel closes it.
    ("grpc.use_local_subchannel_pool", 1),
)

#: The same for TLS. An attempt to connect has at least so long, and a handshake goes back and forth twice: those that
#: are cut off begin again with a little more time, so that a broker far away would cost several of them, and seconds.
_FOR_TLS = ("grpc.min_reconnect_backoff_ms", 1_000)

#: For what is on this machine: a proxy that the environment names is for elsewhere.
_WITHOUT_PROXY = ("grpc.enable_http_proxy", 0)


class ConnectionSettings(TypedDict, total=False):
    """The arguments of everything that connects, besides target and namespace; see `Dibs`."""

    timeout: Seconds | None
    try_timeout: Seconds | None
    token: str | None
    token_file: StrPath | None
    tls: bool | None
    ca: StrPath | None
    cert: StrPath | None
    key: StrPath | None
    channel_options: Sequence[tuple[str, Any]]


def check_names(settings: ConnectionSettings) -> None:
    """Check that there is nothing among the arguments that is none.

    Raises:
        TypeError: there is; the text names it.
    """
    for name in settings.keys() - ConnectionSettings.__annotations__.keys():
        raise TypeError(f"a connection has no argument {name!r}")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Everything that is needed to reach a broker. Immutable.

    Attributes:
        target: ``host:port``, ``unix:/path``, or any other gRPC target.
        namespace: namespace of everything done over it.
        timeout: seconds that a call may take with all its retries.
        try_timeout: seconds that the first attempt at a call may take, without what it asks the broker to wait. A call
            that may be made again then is, over a new channel, and may take twice as long.
        token: bearer token to send; None for none.
        token_file: file with the bearer token to send, which is read again and again; None for none.
        tls: whether to use TLS.
        ca: PEM file with the authorities to trust; None for the system's.
        cert: PEM file with the client's certificate chain, for mutual TLS.
        key: PEM file with the key of `cert`.
        channel_options: further gRPC channel options; they go before the package's own.
        source: what named the target, such as ``DIBS_TARGET``, for errors; "": the program did.
    """

    target: str = DEFAULT_TARGET
    namespace: str = DEFAULT_NAMESPACE
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    try_timeout: float = DEFAULT_TRY_TIMEOUT_SECONDS
    token: str | None = field(default=None, repr=False)
    token_file: TokenFile | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    channel_options: tuple[tuple[str, Any], ...] = ()
    source: str = field(default="", compare=False)

    @classmethod
    def build(
        cls,
        target: str | None = None,
        namespace: str | None = None,
        *,
        timeout: Seconds | None = None,
        try_timeout: Seconds | None = None,
        token: str | None = None,
        token_file: StrPath | None = None,
        tls: bool | None = None,
        ca: StrPath | None = None,
        cert: StrPath | None = None,
        key: StrPath | None = None,
        channel_options: Sequence[tuple[str, Any]] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> Connection:
        """Complete what is given from the environment and from the defaults.

        The environment is asked for `DIBS_TARGET`, `DIBS_NAMESPACE`, `DIBS_TOKEN`, `DIBS_TOKEN_FILE`, `DIBS_CA_FILE`,
        `DIBS_CLIENT_CERT_FILE` and `DIBS_CLIENT_KEY_FILE`. A token goes before a file with one.

        Raises:
            ValueError: a target that is none, a certificate without its key or the reverse, a timeout that is not
                above 0, a token that would go over the network unencrypted, a file without one, or a channel option
                that turns gRPC's retries on.
        """

        def path(given: StrPath | None, variable: str) -> Path | None:
            value = os.fspath(given) if given is not None else environ.get(variable)
            return Path(value) if value else None

        in_environment = environ.get("DIBS_TARGET")
        source = "the default"
        if target or in_environment:
            source = "DIBS_TARGET" if not target or target == in_environment else ""
        name, asks_for_tls = read_target(target or in_environment or DEFAULT_TARGET, source)
        ca_file = path(ca, "DIBS_CA_FILE")
        cert_file = path(cert, "DIBS_CLIENT_CERT_FILE")
        key_file = path(key, "DIBS_CLIENT_KEY_FILE")
        token = token or ("" if token_file is not None else environ.get("DIBS_TOKEN")) or None
        token_path = None if token else path(token_file, "DIBS_TOKEN_FILE")
        if tls is None:
            tls = asks_for_tls or any((ca_file, cert_file, key_file))
        connection = cls(
            target=name,
            namespace=namespace or environ.get("DIBS_NAMESPACE") or DEFAULT_NAMESPACE,
            timeout=DEFAULT_TIMEOUT_SECONDS if timeout is None else to_seconds(timeout, "timeout"),
            try_timeout=(
                DEFAULT_TRY_TIMEOUT_SECONDS if try_timeout is None else to_seconds(try_timeout, "try_timeout")
            ),
            token=token,
            token_file=None if token_path is None else TokenFile(token_path),
            tls=tls,
            ca=ca_file,
            cert=cert_file,
            key=key_file,
            channel_options=tuple(channel_options),
            source=source,
        )
        connection._check()
        return connection

    def _check(self) -> None:
        if self.timeout <= 0:
            raise ValueError("timeout must be above 0")
        if self.try_timeout <= 0:
            raise ValueError("try_timeout must be above 0")
        if dict(self.channel_options).get(_RETRIES):
            raise ValueError(f"{_RETRIES} stays off: gRPC would make calls again that must not be made twice")
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate and its key go together")
        if self.token_file is not None:
            self.token_file.read()
        if (self.token or self.token_file) and not self.tls and not is_local(self.target):
            raise ValueError(f"a token for {self.target} would travel unencrypted: use TLS")

    @property
    def direct(self) -> bool:
        """Whether calls are answered by the very thread that makes them, so that none may wait for another's."""
        return False

    @property
    def place(self) -> str:
        """The target, with https:// if TLS is spoken, and what named it, for sentences."""
        name = f"{TLS_SCHEME}{self.target}" if self.tls else self.target
        return f"{name} ({self.source})" if self.source else name

    @property
    def metadata(self) -> Metadata | None:
        """What to send with every call; None for nothing."""
        token = self.token if self.token_file is None else self.token_file.token()
        return (("authorization", f"Bearer {token}"),) if token else None

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """The gRPC channel options, in order of precedence."""
        given = {name for name, _ in self.channel_options}
        own = dict(_CHANNEL_OPTIONS)
        own.update([_FOR_TLS] if self.tls else [])
        own.update([_WITHOUT_PROXY] if is_local(self.target) else [])
        options = self.channel_options + tuple(option for option in own.items() if option[0] not in given)
        if _PING_TIMEOUT in given:
            return options
        return (*options, (_PING_TIMEOUT, dict(options)[_KEEPALIVE_TIMEOUT]))

    def credentials(self) -> grpc.ChannelCredentials | None:
        """TLS credentials; None for plaintext.

        Raises:
            OSError: a certificate file cannot be read.
        """
        if not self.tls:
            return None

        def read(path: Path | None) -> bytes | None:
            return path.read_bytes() if path else None

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.cert))

    def open_channel(self) -> grpc.Channel:
        """A new channel; the caller closes it.

        Raises:
            DibsError: gRPC cannot be used in this process, or not now; see `forking` and `offline`.
        """
        offline.check()
        forking.check()
        greenlets.prepare()
        credentials = self.credentials()
        # Replies that are streams are read without a thread each: a third of the time of a call.
        options = (*self.options, (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1))
        with forking.opening():
            if credentials is None:
                return grpc.insecure_channel(self.target, options)
            return grpc.secure_channel(self.target, credentials, options)

    def open_aio_channel(self) -> grpc.aio.Channel:
        """A new channel for the running event loop; the caller closes it.

        Raises:
            DibsError: gRPC cannot be used in this process, or not now; see `forking` and `offline`.
        """
        offline.check()
        forking.check()
        credentials = self.credentials()
        with forking.opening():
            if credentials is None:
                channel = grpc.aio.insecure_channel(self.target, self.options)
            else:
                channel = grpc.aio.secure_channel(self.target, credentials, self.options)
            forking.opened(channel, asyncio.get_running_loop())
        return channel
