"""The broker's services in a thread of their own, for tests of blocking clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc.aio

from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.services import Services


@dataclass
class BrokerThread:
    """Services on a free port of the loopback interface, in an event loop in a thread.

    Attributes:
        target: where to connect.
        grace_s: what calls in flight get at the end.
        limits: what it takes.
    """

    redis_url: str
    port: int = 0
    interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
    target: str = ""
    grace_s: float = 1
    limits: Limits = field(default_factory=Limits)
    _started: threading.Event = field(default_factory=threading.Event)
    _error: BaseException | None = None

    def start(self) -> None:
        """Starts them; returns when they serve."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="broker", daemon=True)
        self._thread.start()
        assert self._started.wait(20)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends them, as a broker that goes away does; returns when they are gone."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(20)
            assert not self._thread.is_alive()

    def until_settled(self) -> None:
        """Returns when it has seen that there is no broker of an earlier version."""

        async def settled() -> None:
            async with asyncio.timeout(20):
                await self._engine.hints.subscribed.wait()
                await self._engine.peers.look()

        asyncio.run_coroutine_threadsafe(settled(), self._loop).result(20)
        assert self._engine.peers.current

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # A machine that is busy with something else answers late; that is not what the tests of clients are about.
        engine = self._engine = Engine(EngineConfig(self.redis_url, timeout_s=20.0))
        try:
            await engine.start()
            await self._serve_from(engine)
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._started.set()
            await engine.close()

    async def _serve_from(self, engine: Engine) -> None:
        drain = Drain()
        server = grpc.aio.server(
            interceptors=self.interceptors,
            options=[("grpc.max_receive_message_length", self.limits.max_message_bytes)],
        )
        services = Services(engine, self.limits, drain)
        services.register(server)
        services.start()
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self.target = f"127.0.0.1:{self.port}"
        self._started.set()
        await self._stopping.wait()
        drain.begin()
        await server.stop(self.grace_s)
        await services.close()


@contextmanager
def serving(
    redis_url: str, *interceptors: grpc.aio.ServerInterceptor, limits: Limits | None = None
) -> Iterator[BrokerThread]:
    """A broker that ends with the with."""
    broker = BrokerThread(redis_url, interceptors=interceptors, limits=limits or Limits())
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
