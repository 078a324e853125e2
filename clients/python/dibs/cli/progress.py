"""Progress of what goes on for a while: a bar for people, a line a report for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from google.protobuf.message import Message
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .machine import as_json
from .session import Session

M = TypeVar("M", bound=Message)


def follow(
    session: Session, reports: Iterable[M], text: str, done_and_left: Callable[[M], tuple[int, int]]
) -> M | None:
    """Follow a call to its end; the value is its last report, None if there was none.

    Args:
        session: where to show it.
        reports: of the call.
        text: what is being done, in a word or two.
        done_and_left: how far a report says that it is.
    """
    last: M | None = None
    shown = session.err.is_terminal and not session.as_json
    with _bar(session, text) if shown else nullcontext(_nothing) as update:
        for last in reports:
            if session.as_json:
                session.line(**as_json(last))
            update(*done_and_left(last))
    return last


@contextmanager
def _bar(session: Session, text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar, and what moves it: told how much is done and how much is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=session.err, transient=True) as progress:
        bar = progress.add_task(text, total=None)
        yield lambda done, left: progress.update(bar, completed=done, total=done + left)


def _nothing(done: int, left: int) -> None:
    pass
