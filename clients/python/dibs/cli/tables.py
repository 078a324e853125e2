"""Tables as all commands show them."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .words import one_line, plain


def table(*columns: str) -> Table:
    """An empty table.

    Args:
        columns: headings; one that ends in ``#`` holds numbers, which stand at the right; one that ends in ``…``
            is cut off when the terminal is narrow.
    """
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        heading = column.rstrip("#…")
        if column.endswith("#"):
            made.add_column(heading, justify="right", no_wrap=True)
        elif column.endswith("…"):
            made.add_column(heading, no_wrap=True, overflow="ellipsis", ratio=1)
        else:
            made.add_column(heading, overflow="fold")
    return made


def fields(pairs: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names and values below each other."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(Text(one_line(name)), value)
    return made


def cell(text: str, style: str = "") -> Text:
    """Text from elsewhere, made harmless."""
    return Text(plain(text), style=style)


STATE_STYLES = {
    "scheduled": "cyan",
    "late": "yellow",
    "waiting": "blue",
    "started": "magenta",
    "succeeded": "green",
    "failed": "red",
    "dead": "bold red",
    "cancelled": "dim",
    "unknown": "dim",
}


def state_cell(word: str) -> Text:
    """A state in its colour."""
    return Text(word, style=STATE_STYLES.get(word, ""))
