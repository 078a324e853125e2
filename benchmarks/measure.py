"""What a scenario reports, and how often it is run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        unit: of the values.
        values: one a run.
        note: settings that belong to it.
        against: name of the figure that it is divided by, in the table.
    """

    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    note: str = ""
    against: str = ""

    @property
    def median(self) -> float:
        """The median of all runs."""
        return statistics.median(self.values)


def repeated(runs: int, measure: Callable[[], float]) -> list[float]:
    """Measures several times."""
    return [measure() for _ in range(runs)]


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
