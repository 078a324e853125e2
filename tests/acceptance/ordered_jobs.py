"""Tasks for one thread, which note the order in which they come."""

from __future__ import annotations

import dibs

from .jobs import hold, note

__all__ = ["hold", "in_order"]


@dibs.task(name="in_order")
def in_order(label: str) -> None:
    note(f"in_order {label}")
