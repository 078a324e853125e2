"""The program behind `dibs`: a group whose subcommands come from the table, imported when they are used."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .table import TABLE, Row


class TableGroup(TyperGroup):
    """Lists the table; the row that is used is imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(TABLE)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list shows of a subcommand; nothing is imported for it."""
        row = TABLE.get(cmd_name)
        if row is None:
            return None
        return TyperCommand(cmd_name, help=row.help, short_help=row.help, rich_help_panel=row.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real subcommand that the arguments name, imported."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and load(str(name), TABLE[str(name)]), rest


def load(name: str, row: Row) -> Any:
    """Import the command of a row; exit with one sentence when its extra is not installed."""
    module, _, attribute = row.target.partition(":")
    try:
        command = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "dibs"):
            raise
        typer.echo(f"dibs {name}: {missing} is not installed: pip install 'dibs[{row.extra}]'", err=True)
        raise typer.Exit(1) from None
    return typer.main.get_command(command) if isinstance(command, typer.Typer) else command


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dibs {_version()}")
        raise typer.Exit


def _version() -> str:
    try:
        return version("dibs")
    except PackageNotFoundError:
        return "(not installed)"


app = typer.Typer(cls=TableGroup, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback()
def dibs(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """A task and data queue that programs reach over gRPC."""


#: The program; call it with `prog_name`.
program = typer.main.get_command(app)
