"""Progress of what goes on for a while: a bar for people, a line a report for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from rich import progress as bars

from ..rpc.flow import Flow
from ..rpc.tally import OnProgress, Progress
from .session import Session

R = TypeVar("R")
T = TypeVar("T")


def work(session: Session, text: str, word: str, flow: Callable[[OnProgress], Flow[T]], **more: Any) -> T:
    """Run a flow that deals with many items, and show how far it is.

    Args:
        session: where to show it.
        text: what is being done, in a word or two.
        word: what the contract calls the items that are done, such as ``removed``.
        flow: what to run, given what is to be told of progress.
        more: what else a report says to programs.
    """
    reported = False

    def facts(report: Progress) -> dict[str, Any]:
        nonlocal reported
        reported = True
        return {word: report.done, "left": report.left, **more}

    done = follow(session, text, flow, facts, lambda report: (report.done, report.left))
    if session.as_json and not reported:
        session.line(**facts(Progress(0, 0)))
    return done


def follow(
    session: Session,
    text: str,
    flow: Callable[[Callable[[R], None]], Flow[T]],
    facts: Callable[[R], dict[str, Any]],
    done_and_left: Callable[[R], tuple[int, int]],
) -> T:
    """Run a flow that reports, and show its reports.

    Args:
        session: where to show them.
        text: what is being done, in a word or two.
        flow: what to run, given what is to be told each report.
        facts: a report for programs.
        done_and_left: how far a report says that it is.
    """
    shown = session.err.is_terminal and not session.as_json
    with _bar(session, text) if shown else nullcontext(_nothing) as update:

        def heard(report: R) -> None:
            if session.as_json:
                session.line(**facts(report))
            update(*done_and_left(report))

        return session.calls.run(flow(heard))


@contextmanager
def _bar(session: Session, text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar, and what moves it: told how much is done and how much is left."""
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
    times = (bars.TimeElapsedColumn(), bars.TimeRemainingColumn())
    with bars.Progress(*columns, *times, console=session.err, transient=True) as progress:
        bar = progress.add_task(text, total=None)
        yield lambda done, left: progress.update(bar, completed=done, total=done + left)


def _nothing(done: int, left: int) -> None:
    pass
