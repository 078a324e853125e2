"""`dibs dead`: dead letters, what died of what, and what to do with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from ..admin import flows as admin_flows
from ..admin.taking import Taking
from ..v1.admin_pb2 import ItemInfo
from ..v1.types_pb2 import QUEUE_KIND_UNSPECIFIED
from . import words
from .arguments import (
    DEAD_QUEUE,
    All,
    AnyKind,
    Data,
    DeadQueue,
    Limit,
    PageToken,
    ShowArgs,
    SomeIds,
    chosen_ids,
    kind_of,
)
from .command import Yes, group
from .exits import Exit
from .paging import page_size, show_pages
from .progress import work
from .session import Session
from .tables import cell, cut_cell, table
from .values import span


def list_queues(session: Session, kind: AnyKind = None) -> None:
    """Dead-letter queues and how much is in them."""
    found = session.calls.dead_queues(kind.on_wire if kind else QUEUE_KIND_UNSPECIFIED)
    if session.as_json:
        session.document(queues=found)
    elif not found:
        session.say("no dead letters")
    else:
        now = session.calls.now()
        made = table("dead-letter queue", "kind", "items#", "oldest#")
        for queue in found:
            there = queue.HasField("oldest_death_time")
            oldest = words.age(words.since(queue.oldest_death_time, now)) if there else words.NOTHING
            made.add_row(cell(queue.name), words.kind_word(queue.kind), words.count(queue.size), oldest)
        session.show(made)


def dead_table(items: Sequence[ItemInfo], now: datetime, *, args: bool) -> Table:
    """One page of dead letters for people."""
    made = table("id!", "task", "from queue", "attempts#", "died#", *(["arguments…"] if args else []), "error…")
    for item in items:
        made.add_row(
            cell(item.id),
            cell(item.content.task_name) if item.content.task_name else words.NOTHING,
            cell(item.queue),
            str(item.attempt),
            words.age(words.since(item.death_time, now)) + " ago",
            *([cut_cell(words.arguments(item.content, 1_000))] if args else []),
            cut_cell(_last_line(item.last_error), style="red"),
        )
    return made


def _last_line(error: str) -> str:
    """Of a traceback, the line that says what went wrong."""
    lines = error.strip().splitlines()
    return words.one_line(lines[-1], 200) if lines else ""


def show(
    session: Session,
    queue: DeadQueue = DEAD_QUEUE,
    args: ShowArgs = False,
    limit: Limit = 100,
    page_token: PageToken = "",
    data: Data = False,
) -> None:
    """Dead letters, the oldest death first, with what they died of; `dibs show ID` has the whole error."""
    pages = admin_flows.dead_letters(
        session.calls.namespace,
        queue,
        kind_of(data).on_wire,
        include_content=args,
        page_size=page_size(session, limit),
        page_token=page_token,
    )
    now = datetime.now().astimezone() if session.as_json else session.calls.now()
    show_pages(session, pages, limit, lambda items: dead_table(items, now, args=args))


def redrive(
    session: Session,
    ids: SomeIds = None,
    everything: All = False,
    queue: DeadQueue = DEAD_QUEUE,
    data: Data = False,
    yes: Yes = False,
) -> None:
    """Send dead letters back to the queues that they came from, with all their attempts."""
    wanted = chosen_ids(ids, everything)
    if everything:
        session.confirm(f"Send everything in {queue} back to its queues?", yes=yes)
    namespace, kind = session.calls.namespace, kind_of(data).on_wire
    sent = work(
        session,
        "redriving",
        "redriven",
        lambda heard: admin_flows.redrive_dead_letters(namespace, queue, kind, wanted, heard),
    )
    if not session.as_json:
        session.say(f"{sent:,} item(s) sent back")


def purge(
    session: Session,
    ids: SomeIds = None,
    everything: All = False,
    queue: DeadQueue = DEAD_QUEUE,
    data: Data = False,
    yes: Yes = False,
) -> None:
    """Remove dead letters for good."""
    wanted = chosen_ids(ids, everything)
    what = "everything" if wanted is None else f"{len(wanted)} item(s)"
    session.confirm(f"Remove {what} in {queue} for good?", yes=yes)
    namespace, kind = session.calls.namespace, kind_of(data).on_wire
    purged = work(
        session,
        "purging",
        "purged",
        lambda heard: admin_flows.purge_dead_letters(namespace, queue, kind, wanted, heard),
    )
    if not session.as_json:
        session.say(f"{purged:,} item(s) removed")


def take(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="How many at most.")] = 1,
    wait: Annotated[
        float, typer.Option(parser=span, metavar="TIME", show_default="0s", help="Wait so long for a first one.")
    ] = 0.0,
    queue: DeadQueue = DEAD_QUEUE,
    data: Data = False,
) -> Exit:
    """Take dead letters out and print them: at most once, so keep what is printed. Exit code 1 if there was none."""
    namespace, taking = session.calls.namespace, Taking(queue, kind_of(data).on_wire)
    taken, request_id = session.calls.run(taking.take(namespace, limit, wait))
    if session.as_json:
        session.document(items=taken)
    elif not taken:
        session.say("nothing there")
    else:
        session.show(dead_table(taken, session.calls.now(), args=True))
    if taken:
        session.calls.run(taking.confirm(namespace, request_id))
    return Exit.OK if taken else Exit.NO


command = group(
    "Dead letters: what was given up. Without a subcommand: list.",
    list=list_queues,
    show=show,
    redrive=redrive,
    purge=purge,
    take=take,
)
