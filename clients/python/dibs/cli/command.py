"""Makes a command of the operator's out of a function: options that all share, a session, errors as sentences."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

from ..errors import DibsError
from ..rpc.connection import Connection
from .exits import Exit, Refused, code_of, facts_of, sentence_of
from .machine import dump
from .session import Session
from .values import span

#: Heading of the shared options in the help.
_PANEL = "Connection"

Target: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="DIBS_TARGET",
        help="Broker: host:port, unix:/path, or https://host:port for TLS. Default: 127.0.0.1:7411.",
        rich_help_panel=_PANEL,
    ),
]
Namespace: TypeAlias = Annotated[
    str | None,
    typer.Option("--namespace", "-n", envvar="DIBS_NAMESPACE", help="Default: default.", rich_help_panel=_PANEL),
]
Token: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="DIBS_TOKEN",
        show_envvar=True,
        help="Bearer token; better given in the environment, where other users do not see it.",
        rich_help_panel=_PANEL,
    ),
]
TokenFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="DIBS_TOKEN_FILE", help="File with the token.", rich_help_panel=_PANEL),
]
Tls: TypeAlias = Annotated[
    bool | None, typer.Option("--tls/--no-tls", help="Default: if a file below is given.", rich_help_panel=_PANEL)
]
CaFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--ca-file", envvar="DIBS_CA_FILE", help="Authorities to trust, PEM.", rich_help_panel=_PANEL),
]
CertFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--client-cert-file", envvar="DIBS_CLIENT_CERT_FILE", help="Our certificate, PEM.", rich_help_panel=_PANEL
    ),
]
KeyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--client-key-file", envvar="DIBS_CLIENT_KEY_FILE", help="Its key, PEM.", rich_help_panel=_PANEL),
]
Timeout: TypeAlias = Annotated[
    float,
    typer.Option(
        "--timeout",
        parser=span,
        metavar="TIME",
        show_default="5s",
        help="How long a call may take with its retries.",
        rich_help_panel=_PANEL,
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="JSON for programs: one document, or an object a line while it goes on.")
]

# Shared by commands that have them.
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _shared(
    as_json: Json = False,
    target: Target = None,
    namespace: Namespace = None,
    token: Token = None,
    token_file: TokenFile = None,
    tls: Tls = None,
    ca_file: CaFile = None,
    client_cert_file: CertFile = None,
    client_key_file: KeyFile = None,
    timeout: Timeout = 5.0,
) -> Session:
    """The session that the shared options describe.

    Raises:
        typer.BadParameter: they do not go together.
    """
    try:
        connection = Connection.build(
            target,
            namespace,
            timeout=timeout,
            token=token,
            token_file=token_file,
            tls=tls,
            ca=ca_file,
            cert=client_cert_file,
            key=client_key_file,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return Session(connection, as_json=as_json)


def command(function: Callable[..., Exit | None]) -> Callable[..., None]:
    """A function `f(session, ...)` as a command that also has the shared options.

    What it returns is the exit code (None: 0). A `dibs.DibsError`, a `Refused` and Ctrl-C end the command with one
    sentence on standard error, or one JSON object there with `--json`, and the code of the table in `exits`.
    """
    own = inspect.signature(function, eval_str=True)
    shared = inspect.signature(_shared, eval_str=True).parameters
    parameters = [*list(own.parameters.values())[1:], *shared.values()]
    # By keyword only: so may those without a default follow those that have one.
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]

    @functools.wraps(function)
    def run(**given: Any) -> None:
        session = _shared(**{name: given.pop(name) for name in shared})
        raise typer.Exit(_guarded(session, lambda: function(session, **given)))

    del run.__wrapped__  # its signature would go before ours
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _guarded(session: Session, body: Callable[[], Exit | None]) -> Exit:
    try:
        code = body() or Exit.OK
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who read the output, such as `head`, has seen enough; what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.NO
    except (DibsError, Refused, KeyboardInterrupt, OSError, UnicodeEncodeError) as error:
        complain(session, error)
        return code_of(error)
    finally:
        session.close()


def complain(session: Session, error: BaseException) -> None:
    """Say on standard error what went wrong."""
    target = session.connection.place
    if session.as_json:
        print(dump({"error": facts_of(error, target)}), file=sys.stderr)
    else:
        session.note(f"dibs: {sentence_of(error, target)}")


class DefaultGroup(TyperGroup):
    """A group that lists when no subcommand is named: ``dibs locks --json`` is ``dibs locks list --json``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` in front of arguments that name no subcommand, unless they ask for help."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def single(function: Callable[..., Exit | None], **settings: Any) -> Any:
    """A subcommand of `dibs` made of one function; `settings` are those of its context."""
    app = _app()
    app.command(context_settings=settings)(command(function))
    return typer.main.get_command(app)


def group(text: str, **functions: Callable[..., Exit | None]) -> Any:
    """A subcommand of `dibs` that has subcommands, by name; one must be `list`.

    Args:
        text: its help.
        functions: its subcommands.
    """
    app = _app(cls=DefaultGroup, help=text)
    for name, function in functions.items():
        app.command(name)(command(function))
    return typer.main.get_command(app)


def _app(**options: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, **options)
