"""TCP proxies with bad manners, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

T = TypeVar("T")
_CHUNK = 65_536
#: Transports that are closed need some turns of the loop to close their sockets.
_CLOSING_S = 0.1
#: A part that was forwarded is to be read before the connection is reset, which may throw it away.
_PART_READ_S = 0.02


class Manner(Enum):
    """How a proxy treats what goes through it."""

    #: Forwards.
    PASS = auto()
    #: Holds everything back, and new connections too.
    STALL = auto()
    #: Swallows what the server sends; those connections stay deaf until they are closed.
    MUTE = auto()
    #: Forwards after a while.
    DELAY = auto()


@dataclass(eq=False)
class _Pair:
    """A connection from a client and the one that goes with it to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    deaf: bool = False

    def close(self, *, reset: bool = False) -> None:
        """Close both; with reset, so that the other ends see an error instead of an end."""
        for writer in (self.client, self.server):
            if reset:
                _reset(writer)
            else:
                writer.close()


@dataclass
class _State:
    """What a proxy does now; touched in its loop only."""

    port: int
    manner: Manner = Manner.PASS
    delay_s: float = 0.0
    #: Of the next chunk in either direction this share is forwarded, then the connection is reset.
    truncating: float | None = None
    pairs: set[_Pair] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Forwards connections from a port of its own to a server's. Methods are for any other thread.

    Args:
        loop: where it lives.
        port: of the server, on this machine.

    Attributes:
        address: where clients connect.
        port: the port of that.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self._loop = loop
        self._state = _State(port)
        self._server = self._run(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def behave(self, manner: Manner, delay_s: float = 0.0) -> None:
        """Treat everything so from now on."""

        def change() -> None:
            self._state.manner, self._state.delay_s = manner, delay_s
            self._state.changed.set()
            self._state.changed = asyncio.Event()
            if manner is not Manner.MUTE:  # what was swallowed is missing for ever: nothing can be read on from there
                for pair in [pair for pair in self._state.pairs if pair.deaf]:
                    pair.close(reset=True)

        self._do(change)

    def cut(self, *, reset: bool = False) -> None:
        """Close every open connection."""

        def close() -> None:
            for pair in list(self._state.pairs):
                pair.close(reset=reset)

        self._do(close)

    def truncate(self, share: float) -> None:
        """Forward only a share of the next chunk, in the middle of a message or not, and reset that connection."""

        def change() -> None:
            self._state.truncating = share

        self._do(change)

    def lead_to(self, port: int) -> None:
        """Connect new connections to another server."""

        def change() -> None:
            self._state.port = port

        self._do(change)

    def _do(self, what: Callable[[], object]) -> None:
        async def carry_out() -> None:
            what()

        self._run(carry_out())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def close(self) -> None:
        """Listen no more, and close what is open."""

        def end() -> None:
            self._server.close()
            for pair in list(self._state.pairs):
                pair.close(reset=True)

        self._do(end)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state = self._state
        while state.manner is Manner.STALL:
            await state.changed.wait()
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", state.port)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, server_writer)
        state.pairs.add(pair)
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, pair, from_server=False),
                self._pump(server_reader, writer, pair, from_server=True),
            )
        finally:
            state.pairs.discard(pair)
            pair.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair, *, from_server: bool
    ) -> None:
        state = self._state
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                while state.manner is Manner.STALL:
                    await state.changed.wait()
                if state.manner is Manner.DELAY:
                    await asyncio.sleep(state.delay_s)
                if from_server and (pair.deaf or state.manner is Manner.MUTE):
                    pair.deaf = True
                    continue
                if state.truncating is not None and len(data) > 1:
                    writer.write(data[: max(1, int(state.truncating * len(data)))])
                    state.truncating = None
                    await asyncio.sleep(_PART_READ_S)
                    pair.close(reset=True)
                    return
                writer.write(data)
                await writer.drain()
        pair.close()


class Proxies:
    """The loop that they live in. Close it at the end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self._all: list[Proxy] = []

    def before(self, port: int) -> Proxy:
        """A new proxy before a server on this machine."""
        proxy = Proxy(self._loop, port)
        self._all.append(proxy)
        return proxy

    def close(self) -> None:
        """End all of them."""
        for proxy in self._all:
            proxy.close()

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(_CLOSING_S)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection so that its other end sees an error, not an orderly end."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
