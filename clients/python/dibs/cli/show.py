"""`dibs show`: everything that is known of items."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ..contract.headers import PRINCIPAL
from ..v1.broker_pb2 import ItemResult
from ..v1.types_pb2 import ITEM_STATE_SUCCEEDED, ITEM_STATE_UNKNOWN
from . import words
from .arguments import Ids
from .command import single
from .exits import Exit
from .session import Session
from .tables import cell, fields, state_cell


def item_fields(item: ItemResult) -> RenderableType:
    """One item for people; what is not there is left out."""
    state = state_cell(words.state_word(item.state))
    if item.cancel_requested:
        state.append(", cancelled: its worker is told", style="yellow")
    pairs: list[tuple[str, RenderableType]] = [("id", cell(item.id)), ("state", state)]
    if item.queue:
        pairs.append(("queue", cell(f"{item.queue} ({words.kind_word(item.kind)})")))
    if item.HasField("content"):
        if item.content.task_name:
            pairs.append(("task", cell(item.content.task_name)))
        pairs.append(("arguments" if item.content.task_name else "data", cell(words.arguments(item.content))))
        headers = dict(item.content.headers)
        if producer := headers.pop(PRINCIPAL, ""):
            pairs.append(("producer", cell(producer)))
        pairs.extend((f"header {name}", cell(value)) for name, value in sorted(headers.items()))
    if item.attempt:
        pairs.append(("attempt", str(item.attempt)))
    if item.HasField("enqueue_time"):
        pairs.append(("enqueued", words.moment(item.enqueue_time)))
    if item.HasField("schedule_time") and item.schedule_time != item.enqueue_time:
        pairs.append(("due", words.moment(item.schedule_time)))
    if item.HasField("result"):
        pairs.append(("result", cell(words.payload(item.result))))
    elif item.withheld:
        pairs.append(("result", Text("for principals with the role produce, consume or content", style="yellow")))
    elif item.state == ITEM_STATE_SUCCEEDED:
        pairs.append(("result", Text("none kept", style="dim")))
    if item.error:
        pairs.append(("error", cell(item.error.rstrip(), style="red")))
    if item.truncated:
        pairs.append(("", Text("too large to be shown with the others: ask for it alone", style="yellow")))
    return fields(pairs)


def show(session: Session, ids: Ids) -> Exit:
    """State, content, result and error of items. Exit code 3 if one of them is not known."""
    found = session.calls.results(ids)
    if session.as_json:
        session.document(items=found)
    else:
        parts: list[RenderableType] = []
        for item in found:
            parts += [item_fields(item), ""]
        session.show(Group(*parts[:-1]))
    return Exit.NOT_FOUND if any(item.state == ITEM_STATE_UNKNOWN for item in found) else Exit.OK


command = single(show)
