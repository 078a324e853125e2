"""`dibs token`: a new token for a principal, and the line that makes a broker know it."""

from __future__ import annotations

import hashlib
import secrets

import typer

from .machine import dump

#: Before the random part, so that people and programs that look for leaked secrets know what it is.
_PREFIX = "dibs_"
_BYTES = 32

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Tokens for principals of a broker's --auth-file.")


@app.callback()
def _token() -> None:
    """Without a command of its own: `new` is not the only thing that tokens may need."""


@app.command("new")
def new(as_json: bool = typer.Option(False, "--json", help="JSON for programs.")) -> None:
    """Make a token of 256 random bits, and show it once.

    The token goes to who calls, as DIBS_TOKEN; the line goes to the principal in the broker's --auth-file. Nothing is
    kept or sent. The token alone is on standard output, the rest on standard error.
    """
    token = _PREFIX + secrets.token_urlsafe(_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    if as_json:
        typer.echo(dump({"token": token, "sha256": digest}))
        return
    typer.echo(token)
    typer.echo(f'for the principal in the file of --auth-file:\ntokens_sha256 = ["{digest}"]', err=True)
