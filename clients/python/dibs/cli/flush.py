"""`dibs flush`: waits until what is queued now has started, or is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from ..admin import flows as admin_flows
from ..rpc.flow import Flow
from ..v1 import admin_pb2 as admin
from .arguments import Queues
from .command import single
from .exits import Exit
from .machine import as_json
from .progress import follow
from .session import Session
from .values import span


def flush(
    session: Session,
    queues: Queues = None,
    complete: Annotated[bool, typer.Option("--complete", help="Until they are done, not only started.")] = False,
    force_delayed: Annotated[
        bool, typer.Option("--force-delayed", help="Make delayed tasks due now and fire every schedule.")
    ] = False,
    wait_on_hidden: Annotated[
        bool, typer.Option("--wait-on-hidden", help="With --complete: also for tasks that run already.")
    ] = False,
    wait: Annotated[
        float | None, typer.Option(parser=span, metavar="TIME", help="So long at most. Default: as long as it takes.")
    ] = None,
    every: Annotated[
        float, typer.Option(parser=span, metavar="TIME", show_default="1s", help="Report this often.")
    ] = 1.0,
) -> Exit:
    """Wait until the tasks that are queued now have started; all task queues, or those named.

    Exit code 1 if the time is over before. --json: an object a report, the last ones with the ids and their states.
    """
    last = admin.FlushResponse()

    def reporting(heard: Callable[[admin.FlushResponse], None]) -> Flow[Sequence[admin.FlushedItem]]:
        def keep(report: admin.FlushResponse) -> None:
            last.CopyFrom(report)
            _say(session, report)
            heard(report)

        return admin_flows.flush(
            session.calls.namespace,
            queues or (),
            complete=complete,
            force_delayed=force_delayed,
            wait_on_hidden=wait_on_hidden,
            timeout=wait,
            interval=every,
            heard=keep,
        )

    follow(session, "flushing", reporting, as_json, lambda report: (report.done, report.started + report.waiting))
    if not session.as_json:
        session.say(f"{last.done:,} {'done' if complete else 'started'}{_rest(last)}")
    return Exit.NO if last.started or last.waiting else Exit.OK


def _say(session: Session, report: admin.FlushResponse) -> None:
    """A report in words, where no bar can be drawn."""
    if not report.finished and not session.as_json and not session.err.is_terminal:
        session.note(f"{report.done:,} done{_rest(report)}")


def _rest(report: admin.FlushResponse) -> str:
    started = f", {report.started:,} running" if report.started else ""
    return started + (f", {report.waiting:,} waiting" if report.waiting else "")


command = single(flush)
