"""`dibs clear`, `pause`, `resume`, `priority`: what is done to a whole queue."""

from __future__ import annotations

from typing import Annotated

import typer

from ..admin import flows as admin_flows
from ..rpc import admin_operations as admin
from . import words
from .arguments import Data, Queue, kind_of
from .command import Yes, single
from .progress import work
from .session import Session, usage
from .values import number


def clear(
    session: Session,
    queue: Queue,
    delete: Annotated[bool, typer.Option("--delete", help="Then delete the queue itself, with its counts.")] = False,
    data: Data = False,
    yes: Yes = False,
) -> None:
    """Remove what is ready or delayed in a queue; what is leased goes on.

    --delete also forgets the queue, its priority and its counts, if nothing of it is leased. It works in small
    steps; Ctrl-C stops it after one, and what is removed stays removed.
    """
    session.confirm(f"Remove everything that waits in {queue}?", yes=yes)
    namespace, kind = session.calls.namespace, kind_of(data).on_wire
    removed, deleted = work(
        session,
        "clearing",
        "removed",
        lambda heard: admin_flows.clear_queue(namespace, queue, kind, delete=delete, on_progress=heard),
        deleted=False,
    )
    if session.as_json:
        if deleted:
            session.line(removed=removed, left=0, deleted=True)
    else:
        end = "; the queue is deleted" if deleted else "; items came in meanwhile, so the queue stays"
        session.say(f"{removed:,} item(s) removed{end if delete else ''}")


def pause(session: Session, queue: Queue, data: Data = False) -> None:
    """Stop deliveries from a queue, on every broker; what is leased goes on, and new items are taken in."""
    changed = session.calls.do(admin.pause_queue(session.calls.namespace, queue, kind_of(data).on_wire))
    _tell(session, queue, changed, "paused", "was paused already")


def resume(session: Session, queue: Queue, data: Data = False) -> None:
    """Deliver from a paused queue again."""
    changed = session.calls.do(admin.resume_queue(session.calls.namespace, queue, kind_of(data).on_wire))
    _tell(session, queue, changed, "delivers again", "was not paused")


def _tell(session: Session, queue: str, changed: bool, yes: str, no: str) -> None:
    if session.as_json:
        session.document(queue=queue, changed=changed)
    else:
        session.say(f"{words.plain(queue)} {yes if changed else no}")


def priority(
    session: Session,
    queue: Queue,
    value: Annotated[
        float | None, typer.Argument(metavar="NUMBER", parser=number, help="Lower numbers are served first.")
    ] = None,
    none: Annotated[
        bool, typer.Option("--none", help="Take the priority away: served after all that have one.")
    ] = False,
    data: Data = False,
) -> None:
    """Show, set or clear the priority of a queue."""
    if none and value is not None:
        raise usage("does not go with a number", "--none")
    kind = kind_of(data).on_wire
    if none or value is not None:
        session.calls.do(admin.set_priority(session.calls.namespace, queue, kind, value))
        current = value
    else:
        [found] = session.calls.queues(kind, [queue])
        current = found.priority if found.HasField("priority") else None
    if session.as_json:
        session.document(queue=queue, priority=current)
    else:
        said = "has no priority" if current is None else f"has priority {words.priority(current)}"
        session.say(f"{words.plain(queue)} {said}")


clear_command = single(clear)
pause_command = single(pause)
resume_command = single(resume)
# A negative number looks like an option.
priority_command = single(priority, ignore_unknown_options=True)
