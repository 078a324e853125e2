"""A connection that tells what is enqueued over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, cast

import grpc
import grpc.aio

from ..rpc.connection import Connection
from ..v1 import broker_pb2 as pb

Heard = Callable[[pb.EnqueueRequest], None]


@dataclass(frozen=True, kw_only=True)
class TappedConnection(Connection):
    """A connection to a broker.

    Attributes:
        heard: told each request that enqueues, each time that it is sent.
    """

    heard: Heard

    @classmethod
    def of(cls, connection: Connection, heard: Heard) -> TappedConnection:
        """That connection."""
        return cls(**{one.name: getattr(connection, one.name) for one in fields(Connection)}, heard=heard)

    def open_channel(self) -> grpc.Channel:
        """As `Connection.open_channel`."""
        return cast(grpc.Channel, _Tapped(super().open_channel(), self.heard))

    def open_aio_channel(self) -> grpc.aio.Channel:
        """As `Connection.open_aio_channel`."""
        return cast(grpc.aio.Channel, _Tapped(super().open_aio_channel(), self.heard))


class _Tapped:
    """A channel, but for the writing of what enqueues."""

    def __init__(self, channel: Any, heard: Heard) -> None:
        self._channel = channel
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def unary_unary(self, path: str, request_serializer: Callable[[Any], bytes], *args: Any, **kwargs: Any) -> Any:
        """A method with one request and one reply."""

        def write(request: Any) -> bytes:
            data = request_serializer(request)
            self._heard(pb.EnqueueRequest.FromString(data))
            return data

        serializer = write if path.endswith("/Enqueue") else request_serializer
        return self._channel.unary_unary(path, serializer, *args, **kwargs)

    def stream_stream(self, path: str, request_serializer: Callable[[Any], bytes], *args: Any, **kwargs: Any) -> Any:
        """A method with streams both ways."""

        def write(request: Any) -> bytes:
            data = request_serializer(request)
            message = pb.EnqueueStreamRequest.FromString(data)
            if message.HasField("request"):
                self._heard(message.request)
            return data

        serializer = write if path.endswith("/EnqueueStream") else request_serializer
        return self._channel.stream_stream(path, serializer, *args, **kwargs)
