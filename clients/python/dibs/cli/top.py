"""`dibs top`: a live view of queues, rates, depths and latency."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from ..errors import DibsError
from . import worker_conditions
from .calls import Calls
from .command import single
from .exits import Refused, sentence_of
from .machine import as_json
from .queues import key
from .session import Session
from .top_history import History, Look, look
from .top_view import screen
from .values import span

SHORTEST_INTERVAL = 0.1
#: An answer that takes longer is as good as none here, and keeps the keyboard waiting.
MOST_PATIENCE = 1.0


def top(
    session: Session,
    interval: Annotated[
        float, typer.Option("--interval", "-i", parser=span, metavar="TIME", show_default="1s", help="Look this often.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, an interval apart, print that and leave.")] = False,
) -> None:
    """Live view: rates, depths, oldest waiting item, latency, with curves of the last minute. q or Ctrl-C ends it.

    --json: an object a line for every look, until Ctrl-C.
    """
    interval = max(interval, SHORTEST_INTERVAL)
    history = History(interval)
    if once:
        _look_twice(session, history)
    elif session.as_json:
        _report(session, history)
    elif not session.is_interactive:
        raise Refused("top needs a terminal; say --once or --json")
    else:
        with suppress(KeyboardInterrupt):
            _watch(session, history)


def _look_twice(session: Session, history: History) -> None:
    history.add(look(session.calls))
    time.sleep(history.interval)
    history.add(look(session.calls))
    if session.as_json:
        session.document(**facts(history))
    else:
        connection = session.connection
        width = session.out.width if session.out.is_terminal or "COLUMNS" in os.environ else 120
        session.out.width = width
        session.show(screen(history, connection.target, connection.namespace, width=width, height=sys.maxsize))


def _report(session: Session, history: History) -> None:
    while True:
        history.add(look(session.calls))
        session.line(**facts(history))
        time.sleep(history.interval)


def _watch(session: Session, history: History) -> None:
    connection = replace(session.connection, timeout=min(session.connection.timeout, MOST_PATIENCE))
    calls = Calls(connection)

    def draw() -> object:
        size = session.out.size
        return screen(history, connection.target, connection.namespace, width=size.width, height=size.height)

    try:
        with _keys() as pressed, Live(Text(""), console=session.out, screen=True, auto_refresh=False) as live:
            due = time.monotonic()
            while True:
                try:
                    history.add(look(calls))
                except DibsError as error:
                    history.fail(sentence_of(error, connection.place))
                live.update(draw(), refresh=True)  # type: ignore[arg-type]
                due = max(due + history.interval, time.monotonic())
                if pressed.within(due - time.monotonic()) in ("q", "Q"):
                    return
    finally:
        calls.close()


class _Keys:
    """Keys as they are pressed."""

    def within(self, seconds: float) -> str:
        """The next key, or nothing when the time is over."""
        ready, _, _ = select.select([sys.stdin], [], [], max(seconds, 0.0))
        return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""


@contextmanager
def _keys() -> Iterator[_Keys]:
    """The keyboard without waiting for Enter and without echo; Ctrl-C works as ever."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _Keys()
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def facts(history: History) -> dict[str, object]:
    """What has been seen, for programs."""
    last: Look | None = history.last
    assert last is not None
    queues = []
    for queue in last.queues:
        at = history.moving.get(key(queue))
        speeds = {"in_per_second": at.put if at else None, "out_per_second": at.done if at else None}
        queues.append({**as_json(queue), **speeds})
    info = as_json(last.info)
    for name in ("settings", "advices", "namespaces"):
        del info[name]
    return {
        "latency_seconds": last.latency,
        "in_per_second": history.put[-1] if history.put else None,
        "out_per_second": history.done[-1] if history.done else None,
        "workers": worker_conditions.count(last.workers),
        "broker": info,
        "queues": queues,
    }


command = single(top)
