"""What one lane of a task process was dealt, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable

from ..shared import frames
from ..shared.memory import Table
from ..shared.sorts import Sort
from .hands import Standing
from .held import Batch, Held
from .outbox import Outbox
from .overrunning import Overrunning
from .renewing import Renewing


class Dealt:
    """One lane of one process.

    Args:
        sort: of the lane.
        table: what is known of its items, by their positions.
        outbox: where what came of items is put.
        write: sends frames to the process.

    Attributes:
        held: the items that it has.
        overrunning: which of them go on in spite of their limits.
        slots: how many run at once; 0: it has no tasks.
    """

    def __init__(self, sort: Sort, table: Table, outbox: Outbox, write: Callable[..., None]) -> None:
        self.held = Held(table)
        self.slots = 0
        self._sort = sort
        self._outbox = outbox
        self.overrunning = Overrunning(self.held)
        self._renewing = Renewing(self.held, outbox)
        self._write = write
        self._dealt = 0
        #: As it said last: items dealt by then, room, items held ahead.
        self._standing = (0, 0, 0)
        #: Items that it has handed back in all, as it said last.
        self._released = 0
        self._handed_back = 0

    @property
    def standing(self) -> Standing:
        """For what it has room, less what has been dealt since it said so."""
        dealt, room, ahead = self._standing
        return Standing(max(0, room - (self._dealt - dealt) % frames.MODULO), self.slots, ahead)

    @property
    def finished(self) -> int:
        """Items that it has run."""
        return self.held.reported - self._handed_back

    def greeted(self, slots: int) -> None:
        """Note how many run at once."""
        self.slots = slots
        self._standing = (0, slots, 0)

    def deal(self, batch: Batch, on_wire: int) -> None:
        """Send items; nothing is done for each of them."""
        for piece in self.held.place(batch):
            self._dealt += piece.count
            arrived_ms = int(piece.arrived * 1000) % frames.MODULO
            numbers = (len(piece.raw), piece.first, max(on_wire, 0), arrived_ms)
            self._write(frames.HEAD.pack(frames.ITEMS, self._sort, *numbers), piece.raw)

    def renew(self, now: float) -> None:
        """Renew the leases of what runs, where it is time."""
        self._renewing.look(now)

    def cancel(self, id: str, token: int) -> None:
        """Tells it that somebody has cancelled an item, which it may have or not."""
        self._write(frames.frame(frames.CANCEL, token % frames.MODULO, token >> 32, body=id.encode(), lane=self._sort))

    def hand_back(self) -> None:
        """Has it hand back what has not begun and can go back."""
        self._write(frames.frame(frames.TAKE, lane=self._sort))

    def take_done(self, frame: frames.Frame) -> int:
        """Take what it says is done; how many it has handed back since it said so the last time."""
        self._standing = frames.STANDING.unpack_from(frame.body)
        at = frames.STANDING.size
        end = at + frame.b * frames.RANGE.size
        if frame.a:
            self.held.said(self._outbox.add(frame.body[end:], frame.a))
        if frame.b:
            self.held.report(frames.RANGE.iter_unpack(frame.body[at:end]))
        before, self._released = self._released, frame.c
        released = (frame.c - before) % frames.MODULO
        self._handed_back += released
        return released
