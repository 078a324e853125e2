"""The table of faults: what is done, and what it may cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .cluster import Cluster
from .expectation import STRICT, Expectation

#: Does the fault for about so many seconds and undoes it. What it returns undoes the rest, after the recovery.
Happening = Callable[[Cluster, float], Callable[[], None] | None]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: of it.
        happen: does it.
        expect: what it may cost.
        seconds: how long it goes on unless told otherwise.
        replica: it needs a second Redis that follows the first.
        small_disk: it needs a disk that can be filled up.
    """

    name: str
    happen: Happening
    expect: Expectation = STRICT
    seconds: float = 6.0
    replica: bool = False
    small_disk: bool = False

    @property
    def summary(self) -> str:
        """What is done, in a line."""
        return (self.happen.__doc__ or "").strip().splitlines()[0]
