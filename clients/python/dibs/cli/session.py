"""What every operator's command has in its hands: the broker, and a way to speak to people or to programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import typer
from google.protobuf.message import Message
from rich.console import Console, RenderableType
from rich.prompt import Confirm
from rich.text import Text

from ..contract.texts import json_text, plain
from ..rpc.connection import Connection
from .calls import Calls
from .exits import Exit, Refused
from .machine import as_json, dump
from .tables import print_whole

#: Width of what is not shown on a terminal: nothing is wrapped or cut off.
_UNLIMITED = 100_000


class Session:
    """One run of a command.

    Args:
        connection: where the broker is.
        as_json: speak JSON.

    Attributes:
        out: for results, on standard output.
        err: for everything else.
    """

    def __init__(self, connection: Connection, *, as_json: bool = False) -> None:
        self.connection = connection
        self.as_json = as_json
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)

    @cached_property
    def calls(self) -> Calls:
        """The broker; connected by the first call."""
        return Calls(self.connection)

    def close(self) -> None:
        """Close the connection, if there is one."""
        calls: Calls | None = self.__dict__.pop("calls", None)
        if calls is not None:
            calls.close()

    @property
    def is_interactive(self) -> bool:
        """Whether a person sits before it: both ends are a terminal, and JSON is not asked for."""
        return self.out.is_terminal and sys.stdin.isatty() and not self.as_json

    def show(self, *what: RenderableType) -> None:
        """Print for people."""
        for one in what:
            if self.out.is_terminal:
                print_whole(self.out, one)
                continue
            # Lines are as long as they are, not filled up with blanks to the longest.
            with self.out.capture() as captured:
                print_whole(self.out, one)
            print("\n".join(line.rstrip() for line in captured.get().splitlines()))

    def say(self, text: str) -> None:
        """Print one sentence."""
        print(plain(text))

    def note(self, text: str) -> None:
        """A remark for people, apart from the results."""
        self.err.print(Text(plain(text)))

    def document(self, **members: Any) -> None:
        """Print the command's one JSON document; messages become objects."""
        print(json_text({name: _as_value(value) for name, value in members.items()}, indent=2))

    def line(self, **members: Any) -> None:
        """Print one JSON object on a line, at once: one of many."""
        print(dump({name: _as_value(value) for name, value in members.items()}), flush=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is destroyed, if a person can be asked.

        Raises:
            Refused: the person said no.
        """
        if yes or not sys.stdin.isatty():
            return
        if not Confirm.ask(Text(plain(question)), console=self.err, default=False):
            raise Refused("nothing was done", Exit.NO)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes a while, if a person looks on."""
        if self.err.is_terminal and not self.as_json:
            with self.err.status(Text(plain(text))):
                yield
        else:
            yield


def _as_value(value: Any) -> Any:
    if isinstance(value, Message):
        return as_json(value)
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        return value
    return [_as_value(one) for one in value]


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _UNLIMITED
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def usage(text: str, option: str) -> typer.BadParameter:
    """The error for an option that cannot be what it is."""
    return typer.BadParameter(text, param_hint=option)
