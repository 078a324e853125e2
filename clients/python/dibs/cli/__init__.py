"""The command `dibs`. Its subcommands are listed in `table` and imported when they are used."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process."""
    try:
        from .program import program
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich", "click"):
            raise
        print("dibs: the command needs more than the client: pip install 'dibs[cli]'", file=sys.stderr)
        sys.exit(1)
    program(prog_name="dibs")
