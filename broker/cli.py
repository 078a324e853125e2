"""The command `dibs broker`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from dibs.contract.log_lines import send_to_stderr
from dibs.contract.metrics_page import NoMetrics

from .border.audit_log import CannotWrite
from .border.listening import CannotListen, allow_connections
from .config.auth_file import BadAuthFile
from .config.certificates import BadCertificates
from .config.jwks_source import BadKeys
from .config.options import Option, options
from .config.settings import BadSettings, Settings
from .engine.errors import UnsuitableRedis
from .server import Server
from .upkeep import stray_lines
from .upkeep.redis_programs import EmbeddedRedisError

_log = logging.getLogger(__name__)

#: Each with one sentence for a person.
_CANNOT_SERVE = (
    BadAuthFile,
    BadCertificates,
    BadKeys,
    BadSettings,
    CannotListen,
    CannotWrite,
    EmbeddedRedisError,
    NoMetrics,
    UnsuitableRedis,
)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Raises:
        EmbeddedRedisError, UnsuitableRedis, CannotListen, CannotWrite, BadAuthFile, BadCertificates, BadKeys,
            BadSettings, NoMetrics: as `Server.start` and `Server.failed`.
    """
    server = Server(settings)
    with _stop_signals() as told, _hangup_signal(server, settings):
        try:
            if await _unless_told(told, server.start()):
                await _unless_told(told, server.failed())
        finally:
            await server.stop()


async def _unless_told(told: asyncio.Event, work: Any) -> bool:
    """Awaits work, and gives it up when the stop is told; False: it was given up."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.create_task(told.wait(), name="dibs-stop-signal")
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


@contextmanager
def _hangup_signal(server: Server, settings: Settings) -> Iterator[None]:
    """With TLS, principals or an audit log SIGHUP means to look at their files; without, what it always does."""
    if settings.tls_cert is None and not settings.asks_who_calls and settings.audit_log is None:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, server.look_at_files)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """The event is set by the first signal."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell(number: int) -> None:
        if told.is_set():
            # The private Redis ends with this process, and what it confirmed is in its file.
            _log.warning("told twice: leaving at once")
            logging.shutdown()
            os._exit(128 + number)
        told.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, tell, number)
    try:
        yield told
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def run(config: Path | None, **given: Any) -> None:
    """Run a broker: serve queues, tasks and results over gRPC, on a Redis.

    Each option can also be given by the environment variable in its brackets, and as a line of the --config file
    (max_delay = "30d"). A flag goes before the environment, the environment before the file. TIME is a number with us,
    ms, s, m, h or d (seconds without); SIZE is a number with B, KiB, MiB or GiB (bytes without).

    SIGTERM or Ctrl-C stops it in peace: clients are sent elsewhere and calls in flight finish. A second one ends it
    at once. SIGHUP has it look at once at its certificates, at the file of --auth-file and at keys, which it does now
    and then anyway.
    """
    if given.get("listen"):
        given["listen"] = ",".join(given["listen"])
    try:
        settings = Settings.load({name: value for name, value in given.items() if value not in (None, [])}, config)
        allow_connections(settings)
        # People can read what gRPC writes to stderr by itself.
        with stray_lines.logged() if settings.log_format == "json" else nullcontext():
            send_to_stderr(settings.log_level.upper(), settings.log_format)
            asyncio.run(serve(settings))
    except _CANNOT_SERVE as error:
        print(f"dibs broker: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _parameter(option: Option) -> inspect.Parameter:
    note = f"[{option.env}, default {option.default}]" if option.default else f"[{option.env}]"
    names = [option.flag]
    kind: Any = str | None
    if not option.form:
        names = [f"{option.flag}/--no-{option.flag.removeprefix('--')}"]
        kind = bool | None
    elif option.name == "listen":
        kind = list[str] | None
    shown = typer.Option(
        *names,
        help=escape(f"{option.description} {note}"),
        metavar=option.form or None,
        show_default=False,
        rich_help_panel="Limits" if option.is_limit else "Options",
    )
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, shown]
    )


def _with_every_option() -> typer.Typer:
    config = typer.Option("--config", help="TOML file with options: their names, = and a value.", metavar="PATH")
    parameters = [
        inspect.Parameter(
            "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, config]
        ),
        *(_parameter(option) for option in options()),
    ]

    def broker(**given: Any) -> None:
        run(**given)

    # One line a paragraph: the terminal's width breaks them.
    broker.__doc__ = "\n\n".join(" ".join(part.split()) for part in (run.__doc__ or "").split("\n\n"))
    broker.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    broker.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False)
    app.command(name="broker", context_settings={"help_option_names": ["-h", "--help"]})(broker)
    return app


#: The command, for the program that mounts it.
command = typer.main.get_command(_with_every_option())
