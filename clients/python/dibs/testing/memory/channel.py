"""gRPC channels that lead to a broker in memory; for both faces of a client."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from ...rpc.connection import Connection
from .answering import Answering
from .refusals import not_here


class _Replies:
    """A call that was made: it is answered when somebody asks for what came of it."""

    def __init__(self, answering: Answering, method: str, request: Message) -> None:
        self._answering = answering
        self._method = method
        self._request = request

    def result(self, timeout: float | None = None) -> Message:
        """The one reply."""
        return self._answering.answer(self._method, self._request)[0]

    def __iter__(self) -> Iterator[Message]:
        """All replies."""
        return iter(self._answering.answer(self._method, self._request))

    def cancel(self) -> bool:
        """It is over when it is answered."""
        return False


class _NoStream:
    """A stream that the broker in memory does not have."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __next__(self) -> Message:
        raise not_here(self._method)

    def __iter__(self) -> _NoStream:
        return self

    async def read(self) -> Message:
        """Nothing."""
        raise not_here(self._method)

    async def write(self, message: Message) -> None:
        """Nobody reads it."""
        raise not_here(self._method)

    def cancel(self) -> bool:
        """It is over."""
        return False


class _Method:
    """A method with one request."""

    def __init__(self, answering: Answering, path: str) -> None:
        self._answering = answering
        self._name = path.rpartition("/")[2]

    def __call__(self, request: Message, **_: Any) -> _Replies:
        """A call whose reply is a stream."""
        return _Replies(self._answering, self._name, request)

    future = __call__


class _StreamMethod:
    """A method with a stream of requests."""

    def __init__(self, path: str) -> None:
        self._name = path.rpartition("/")[2]

    def __call__(self, *_: Any, **__: Any) -> _NoStream:
        return _NoStream(self._name)


class _AioReplies:
    """As `_Replies`, to be awaited."""

    def __init__(self, answering: Answering, method: str, request: Message) -> None:
        self._answering = answering
        self._method = method
        self._request = request
        self._left: list[Message] | None = None

    async def _answer(self) -> Sequence[Message]:
        return await self._answering.answer_async(self._method, self._request)

    def __await__(self) -> Generator[Any, Any, Message]:
        """The one reply."""
        return (yield from self._answer().__await__())[0]

    async def read(self) -> Any:
        """The next reply; then the end."""
        if self._left is None:
            self._left = list(await self._answer())
        return self._left.pop(0) if self._left else grpc.aio.EOF

    def cancel(self) -> bool:
        """It is over when it is answered."""
        return False


class _AioMethod:
    def __init__(self, answering: Answering, path: str) -> None:
        self._answering = answering
        self._name = path.rpartition("/")[2]

    def __call__(self, request: Message, **_: Any) -> _AioReplies:
        return _AioReplies(self._answering, self._name, request)


class _Channel:
    """What stubs need of a channel."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    def unary_unary(self, path: str, *_: Any, **__: Any) -> _Method:
        """A method with one reply."""
        return _Method(self._answering, path)

    unary_stream = unary_unary

    def stream_stream(self, path: str, *_: Any, **__: Any) -> _StreamMethod:
        """A method with streams both ways."""
        return _StreamMethod(path)

    stream_unary = stream_stream

    def close(self) -> None:
        """There is nothing to close."""


class _AioChannel:
    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    def unary_unary(self, path: str, *_: Any, **__: Any) -> _AioMethod:
        return _AioMethod(self._answering, path)

    unary_stream = unary_unary

    def stream_stream(self, path: str, *_: Any, **__: Any) -> _StreamMethod:
        return _StreamMethod(path)

    stream_unary = stream_stream

    async def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class MemoryConnection(Connection):
    """A connection to a broker in memory.

    Attributes:
        answering: answers its calls.
    """

    answering: Answering

    @property
    def direct(self) -> bool:
        """Calls are answered by the thread that makes them."""
        return True

    @property
    def place(self) -> str:
        """For sentences."""
        return "the broker in memory"

    def open_channel(self) -> grpc.Channel:
        """A channel; there is nothing to open."""
        return cast(grpc.Channel, _Channel(self.answering))

    def open_aio_channel(self) -> grpc.aio.Channel:
        """As `open_channel`, for asyncio."""
        return cast(grpc.aio.Channel, _AioChannel(self.answering))
