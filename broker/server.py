"""The life of a broker: built, serving, drained. `Server` owns everything that is started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
from grpc_health.v1 import health_pb2_grpc

from dibs.contract.metrics_page import metrics_address

from .border import health
from .border.audit_log import AuditLog
from .border.auditing import Auditing, lost_line
from .border.crossing import Border
from .border.drain import Drain
from .border.file_watch import FileWatch
from .border.guard import Guard
from .border.health import Health
from .border.identities import Identities
from .border.listening import most_connections, open_listeners, server_options
from .border.reflection import add_reflection
from .border.tls import Tls
from .border.tolls import Tolls
from .config import quotas
from .config.addresses import is_local
from .config.call_limits import Allowances
from .config.certificates import CertificateFiles
from .config.redis_files import check_redis_files
from .config.redis_url import shown_redis_url
from .config.settings import BadSettings, Settings
from .config.units import microseconds
from .engine.config import EngineConfig
from .engine.engine import Engine
from .engine.errors import Unavailable
from .engine.quotas import QuotaTable
from .services import Services
from .upkeep.embedded import EmbeddedRedis

if TYPE_CHECKING:
    # These need packages that a broker without metrics, or without an issuer of tokens, lacks.
    from .border.jwt_tokens import JwtTokens
    from .metrics.depths import Standing
    from .metrics.metrics import Metrics

_log = logging.getLogger(__name__)

#: Seconds between attempts to reach a Redis that has not been there so far.
_CONNECT_AGAIN_S = 0.5
#: Seconds that the end of a broker has at least to give back what its streams left: a receipt is waited for, for one of
#: them.
_GIVE_BACK_S = 2.0
#: Seconds that the end of a broker waits for what the audit log has not written.
_AUDIT_END_S = 2.0


def engine_config(settings: Settings, redis_url: str, quotas: QuotaTable) -> EngineConfig:
    """The engine's share of the settings."""
    return EngineConfig(
        redis_url=redis_url,
        redis_ca=str(settings.redis_ca or ""),
        redis_cert=str(settings.redis_cert or ""),
        redis_key=str(settings.redis_key or ""),
        key_prefix=settings.key_prefix,
        request_window_ms=microseconds(settings.request_id_window) // 1000,
        once_retention_us=microseconds(settings.once_retention),
        task_retention_us=microseconds(settings.task_retention),
        poll_interval_s=settings.poll_interval.total_seconds(),
        idle_poll_interval_s=settings.idle_poll_interval.total_seconds(),
        timeout_s=settings.redis_timeout.total_seconds(),
        allow_eviction=settings.allow_eviction,
        reply_bytes=settings.announced.entry_bytes,
        item_bytes=settings.max_message_bytes - settings.announced.margin_bytes,
        quotas=quotas,
    )


class Server:
    """One broker.

    A Redis that was named and is not there does not keep it from starting: it listens, says NOT_SERVING, answers
    UNAVAILABLE, and goes on trying. A Redis that is there and unfit does: that will not mend itself.

    Args:
        settings: of this broker.

    Attributes:
        addresses: where it listens, with the ports that the system chose; valid after `start`.
        health: what it tells of itself.
    """

    def __init__(self, settings: Settings) -> None:
        self.addresses: tuple[str, ...] = ()
        self._settings = settings
        self.health = Health(Services.names)
        self._drain = Drain()
        self._tls: Tls | None = None
        self._identities: Identities | None = None
        self._audit: AuditLog | None = None
        self._stack = AsyncExitStack()
        self._redis_task: asyncio.Task[None] | None = None
        #: When the drain began, on the loop's clock.
        self._drain_began: float | None = None

    async def start(self) -> None:
        """Start Redis if it is a private one, connect, and listen.

        Raises:
            EmbeddedRedisError: the private Redis cannot be started.
            UnsuitableRedis: Redis must not be used.
            CannotListen: an address is taken.
            BadCertificates: they do not serve.
            BadAuthFile: it does not serve.
            CannotWrite: the audit log cannot be.
            BadKeys: the file of keys does not serve.
            BadSettings: the ready file cannot be written.
            NoMetrics: metrics cannot be put together, or not be served there.
        """
        settings = self._settings
        self._tls = _tls(settings)
        self._identities = _identities(settings)
        check_redis_files(settings.redis_ca, settings.redis_cert, settings.redis_key)
        async with AsyncExitStack() as stack:
            if settings.audit_log is not None:
                self._audit = AuditLog(settings.audit_log, lost_line)
                stack.push_async_callback(asyncio.to_thread, self._audit.close, _AUDIT_END_S)
            engine = Engine(engine_config(settings, await self._redis_url(stack), self._quotas(stack)))
            stack.push_async_callback(engine.close)
            connected = await _connect(engine)
            metrics = _metrics(settings)
            guard = None if self._identities is None else Guard(self._identities, engine)
            services = Services(
                engine,
                settings,
                self._drain,
                self._tls,
                metrics.meters if metrics else None,
                guard,
                self._tolls(stack),
                self._audit,
            )
            stack.push_async_callback(self._close, services)
            server = grpc.aio.server(options=server_options(settings))
            services.register(server)
            services.start()
            auditing = None if self._audit is None else Auditing(self._audit.say)
            border: Any = Border(server, settings, guard=guard, auditing=auditing)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, border)
            if settings.reflection:
                add_reflection(border, (*services.names, health.NAME))
            self.addresses = open_listeners(server, settings.listen, self._tls)
            for watch in self._watches():
                watch.start()
                stack.push_async_callback(watch.close)
            if (most := most_connections(settings)) < settings.max_connections:
                _log.warning("at most %d connections on each address: this process may open no more files", most)
            if metrics is not None:
                stack.callback(metrics.close)
                _log.info("metrics at %s", metrics.start(engine, lambda: _standing(engine, services)))
            self._redis_task = asyncio.create_task(self._follow_redis(engine, connected), name="dibs-follow-redis")
            stack.push_async_callback(self._stop_following, self._redis_task)
            self.health.set(connected)
            await server.start()
            stack.push_async_callback(self._stop_serving, server)
            if settings.ready_file is not None:
                stack.enter_context(_ready_file(settings.ready_file, self.addresses))
            self._stack = stack.pop_all()
        for address in self.addresses:
            _log.info("listening on %s", address)

    def look_at_files(self) -> None:
        """Look at the files of TLS and of principals now instead of within 10 s, and open the audit log anew."""
        for watch in self._watches():
            watch.hasten()
        if self._audit is not None:
            self._audit.reopen()

    async def stop(self) -> None:
        """Drains and ends everything, in the reverse order of its start; a second call does nothing."""
        await self._stack.aclose()

    async def failed(self) -> None:
        """Wait until the broker cannot go on. Raises `UnsuitableRedis` then."""
        assert self._redis_task is not None
        await asyncio.shield(self._redis_task)

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()

    def _tolls(self, stack: AsyncExitStack) -> Tolls | None:
        """Who counts what callers use, also by the next file of principals; None: nobody need."""
        allowances, identities = Allowances(self._settings), self._identities
        if identities is None:
            return Tolls(allowances, None) if allowances.any else None
        allowances.take(identities.current.call_limits())
        stack.enter_context(identities.on_change(lambda: allowances.take(identities.current.call_limits())))
        return Tolls(allowances, lambda context: identities.principal(identities.credentials(context)))

    def _quotas(self, stack: AsyncExitStack) -> QuotaTable:
        """What namespaces may hold, also by the next file of principals."""
        table, identities = QuotaTable(), self._identities
        quotas.fill(table, self._settings, None if identities is None else identities.current)
        if identities is not None:
            stack.enter_context(identities.on_change(lambda: quotas.fill(table, self._settings, identities.current)))
        return table

    def _watches(self) -> list[FileWatch[Any]]:
        identities = self._identities
        tokens = None if identities is None else identities.tokens
        with_file = None if self._settings.auth_file is None else identities
        return [watch for watch in (self._tls, with_file, tokens) if watch is not None]

    async def _redis_url(self, stack: AsyncExitStack) -> str:
        settings = self._settings
        if settings.redis is not None:
            _log.info("working on the Redis at %s", shown_redis_url(settings.redis))
            return settings.redis
        embedded = await stack.enter_async_context(EmbeddedRedis(settings.data_dir))
        _log.info("working on a private Redis, its data in %s", embedded.data_dir)
        return embedded.url

    async def _follow_redis(self, engine: Engine, connected: bool) -> None:
        while not connected:
            await asyncio.sleep(_CONNECT_AGAIN_S)
            connected = await _connect(engine, quietly=True)
        await health.follow(engine, self.health)

    async def _stop_following(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _stop_serving(self, server: grpc.aio.Server) -> None:
        settings = self._settings
        # First the word that sends clients and balancers elsewhere, while everything still works ...
        _log.info("leaving: health says NOT_SERVING")
        self.health.leave()
        await asyncio.sleep(settings.drain_delay.total_seconds())
        # ... then the end of what stays open for long, which would hold up the server's stop for all of the grace ...
        self._drain.begin()
        self._drain_began = asyncio.get_running_loop().time()
        self.health.close()
        # ... and then the listeners close, and calls in flight have the grace to finish.
        await server.stop(settings.grace.total_seconds())
        _log.info("no longer listening")

    async def _close(self, services: Services) -> None:
        """What streams have left behind goes back within what is left of the grace, and it always has a moment."""
        left = self._settings.grace.total_seconds()
        if self._drain_began is not None:
            left -= asyncio.get_running_loop().time() - self._drain_began
        await services.close(max(left, _GIVE_BACK_S))


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    files = CertificateFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    return Tls(files, wants_client=settings.wants_client_certificates)


def _metrics(settings: Settings) -> Metrics | None:
    if settings.metrics is None:
        return None
    from .metrics.metrics import Metrics

    return Metrics(*metrics_address(settings.metrics), settings.max_metric_names)


def _standing(engine: Engine, services: Services) -> Standing:
    """What this broker has at the moment, for metrics."""
    from .metrics.depths import Standing

    return Standing(services.roster.here(), engine.hints.heard, engine.connects)


def _identities(settings: Settings) -> Identities | None:
    if not settings.asks_who_calls:
        return None
    if settings.tls_cert is None:
        for address in settings.listen:
            if not is_local(address):
                _log.warning("on %s tokens travel in plaintext: whoever sees them can use them (--insecure)", address)
    return Identities(settings.auth_file, _tokens(settings))


def _tokens(settings: Settings) -> JwtTokens | None:
    if settings.jwt_jwks is None or settings.jwt_issuer is None:
        return None
    try:
        from .border.jwt_tokens import JwtSettings, JwtTokens
    except ModuleNotFoundError as error:
        raise BadSettings(f"--jwt-jwks needs {error.name}: pip install 'dibs[jwt]'") from None
    return JwtTokens(
        JwtSettings(
            settings.jwt_jwks,
            settings.jwt_issuer,
            settings.jwt_audience,
            settings.jwt_claim,
            settings.jwt_leeway,
            settings.jwt_refresh,
        )
    )


async def _connect(engine: Engine, *, quietly: bool = False) -> bool:
    """Start the engine; False: Redis is not there."""
    try:
        await engine.start()
    except Unavailable as error:
        _log.log(logging.DEBUG if quietly else logging.ERROR, "Redis is not there, trying again: %s", error)
        return False
    return True


@contextlib.contextmanager
def _ready_file(path: Path, addresses: Sequence[str]) -> Iterator[None]:
    """The file is there, whole, inside the with."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text("".join(f"{address}\n" for address in addresses))
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise BadSettings(f"--ready-file {path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
