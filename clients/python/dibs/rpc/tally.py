"""How far a call has come that goes on for a while and reports what it has done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come.

    Attributes:
        done: items that it has dealt with so far.
        left: items that are left, about.
    """

    done: int
    left: int


#: Told of progress while a call goes on, in the thread or event loop of the call.
OnProgress: TypeAlias = Callable[[Progress], None]


class Tally:
    """Adds up what the streams of one call report: a stream that broke has done what it said, and another goes on.

    Args:
        on_progress: told of each report.

    Attributes:
        done: items so far.
        left: items left, about.
    """

    def __init__(self, on_progress: OnProgress | None = None) -> None:
        self._on_progress = on_progress
        self._before = 0
        self.done = 0
        self.left = 0

    def report(self, done: int, left: int) -> None:
        """The stream that goes on has done so much and sees so much left."""
        self.done, self.left = self._before + done, left
        if self._on_progress is not None:
            self._on_progress(Progress(self.done, left))

    def next_stream(self) -> None:
        """The stream is over, at its end or not; the next counts from 0."""
        self._before = self.done

    def end_stream(self) -> int:
        """As `next_stream`; all that has been done."""
        self.next_stream()
        return self.done
