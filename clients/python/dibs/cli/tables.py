"""Tables as all commands show them."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .words import one_line, plain

#: No table is wider.
_WIDEST = 10_000
#: Characters that are left of what is cut off.
_LEFT = 12


def table(*columns: str) -> Table:
    """An empty table.

    Args:
        columns: headings; one that ends in ``#`` holds numbers, which stand at the right; one that ends in ``…``
            is cut off when the terminal is narrow; one that ends in ``!`` is never folded, for it is copied. Others
            fold, but no narrower than their headings.
    """
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        heading = column.rstrip("#…!")
        if column.endswith("#"):
            made.add_column(heading, justify="right", no_wrap=True)
        elif column.endswith("…"):
            # Of columns that must not wrap none would give way; their cells do not, see `cut_cell`.
            made.add_column(heading, overflow="ellipsis", min_width=_LEFT)
        elif column.endswith("!"):
            made.add_column(heading, no_wrap=True)
        else:
            made.add_column(heading, overflow="fold", min_width=len(heading))
    return made


def print_whole(console: Console, what: RenderableType) -> None:
    """Print something; a table that needs more room than there is goes beyond the edge and stays whole."""
    if isinstance(what, Table):
        least = Measurement.get(console, console.options.update(width=_WIDEST), what).minimum
        there = console.width
        if least > there:
            console.width = least
            console.print(what, crop=False)
            console.width = there
            return
    console.print(what)


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


def cut_cell(text: str, style: str = "") -> Text:
    """As `cell`, on one line that is cut off where there is no more room; for columns whose heading ends in ``…``."""
    return Text(plain(text), style=style, no_wrap=True, overflow="ellipsis")


STATE_STYLES = {
    "scheduled": "cyan",
    "late": "yellow",
    "waiting": "blue",
    "started": "magenta",
    "succeeded": "green",
    "failed": "red",
    "dead": "bold red",
    "cancelled": "dim",
    "expired": "red",
    "unknown": "dim",
}


def state_cell(word: str) -> Text:
    """A state in its colour."""
    return Text(word, style=STATE_STYLES.get(word, ""))
