"""Long lists of items, a page at a time: to a person who may stop, and to programs with a token to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import RenderableType
from rich.prompt import Prompt
from rich.text import Text

from ..rpc.operations import MAX_BATCH
from ..rpc.pages import Pages
from ..v1.admin_pb2 import ItemInfo
from .session import Session


def page_size(session: Session, limit: int) -> int:
    """How many items to ask for at a time: a screen for a person, else as many as possible."""
    screen = max(session.out.height - 6, 5) if session.is_interactive else MAX_BATCH
    return min(screen, limit or MAX_BATCH, MAX_BATCH)


def show_pages(
    session: Session, pages: Pages[ItemInfo], limit: int, render: Callable[[Sequence[ItemInfo]], RenderableType]
) -> None:
    """Show up to `limit` items (0: all), and say how to get at the rest.

    Pages must not be larger than the limit; after each page a person is asked whether to go on.

    Args:
        session: where to show them.
        pages: the list.
        limit: how many items.
        render: makes the table of one page.
    """
    gathered: list[ItemInfo] = []
    shown, token = 0, ""
    for page in session.calls.pages(pages):
        token = pages.token
        shown += len(page)
        if session.as_json:
            gathered.extend(page)
        elif page:
            session.show(render(page))
        if (limit and shown >= limit) or not token:
            break
        if session.is_interactive and _stops(session, shown):
            return
    if session.as_json:
        session.document(items=gathered, next_page_token=token)
    elif not shown:
        session.say("nothing there")
    elif token:
        session.note(f"{shown} shown, there are more: --limit 0, or the same with --page-token {token}")


def _stops(session: Session, shown: int) -> bool:
    question = Text(f"{shown} shown; Enter for more, q to end")
    return Prompt.ask(question, console=session.err, default="", show_default=False).strip().lower().startswith("q")
