"""`dibs tasks`: what stands in a queue, without leasing it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..admin import flows as admin_flows
from ..v1.admin_pb2 import ItemInfo, ItemSection
from . import words
from .arguments import Data, Limit, PageToken, Queue, ShowArgs, kind_of
from .command import single
from .paging import page_size, show_pages
from .session import Session
from .tables import cell, cut_cell, state_cell, table


class Section(StrEnum):
    """Which of a queue's items."""

    READY = "ready"
    DELAYED = "delayed"
    LEASED = "leased"
    SET_ASIDE = "set-aside"

    @property
    def on_wire(self) -> ItemSection.ValueType:
        """As the broker has it."""
        return ItemSection.Value(f"ITEM_SECTION_{self.name}")


#: What `next_time` of an item means in each section.
_NEXT = {Section.READY: "", Section.DELAYED: "due in#", Section.LEASED: "lease ends in#", Section.SET_ASIDE: ""}


def items_table(items: Sequence[ItemInfo], section: Section, now: datetime, *, args: bool) -> Table:
    """One page for people."""
    upcoming = _NEXT[section]
    columns = ["id!", "task", "state", "attempt#", "age#", *([upcoming] if upcoming else [])]
    made = table(*columns, *(["arguments…"] if args else []), "")
    for item in items:
        row: list[str | Text] = [
            cell(item.id),
            cell(item.content.task_name) if item.content.task_name else words.NOTHING,
            state_cell(words.state_word(item.state)),
            f"{item.attempt}/{item.policy.attempts or 1}",
            words.age(words.since(item.enqueue_time, now)) if item.HasField("enqueue_time") else words.NOTHING,
        ]
        if upcoming:
            there = item.HasField("next_time")
            row.append(words.age(-words.since(item.next_time, now)) if there else words.NOTHING)
        if args:
            row.append(cut_cell(words.arguments(item.content, 1_000)))
        row.append(remark(item))
        made.add_row(*row)
    return made


def remark(item: ItemInfo) -> Text:
    """What else there is to say of an item."""
    if item.cancel_requested:
        return Text("cancelled", style="yellow")
    return cell(words.one_line(item.last_error, 60), style="red")


def tasks(
    session: Session,
    queue: Queue,
    section: Annotated[
        Section, typer.Option("--section", "-s", case_sensitive=False, help="Which items.")
    ] = Section.READY,
    args: ShowArgs = False,
    limit: Limit = 100,
    page_token: PageToken = "",
    data: Data = False,
) -> None:
    """Items of a queue, without leasing them, in the order in which they will be served.

    set-aside: those that no delivery can carry, and why; `dibs redrive` sends them back, `dibs delete` removes them.
    On a terminal a screen at a time. --json: with their content if --args is given.
    """
    pages = admin_flows.items(
        session.calls.namespace,
        queue,
        kind_of(data).on_wire,
        section.on_wire,
        include_content=args,
        page_size=page_size(session, limit),
        page_token=page_token,
    )
    now = datetime.now().astimezone() if session.as_json else session.calls.now()
    show_pages(session, pages, limit, lambda items: items_table(items, section, now, args=args))


command = single(tasks)
