"""The heartbeats of one stream, as whoever opened it keeps them."""

from __future__ import annotations

from typing import Any

from ..contract.heartbeats import DEFAULT, Clock, Pulse, Rhythm


class Heart:
    """Says when to send an empty message, and when the broker has been silent for too long.

    Until the broker has said something, the first word is waited for as long as the contract says; a broker that then
    announces no heartbeats may be silent for ever.

    Attributes:
        beat_due: an empty message is to be sent; whoever sends one, or anything else, says so with `say`.
        silent: nothing has come for too long.
        look_s: seconds until it is to be looked at again; None: never.
        patience_s: what is too long, in seconds.
    """

    __slots__ = ("_clock", "_pulse", "_spoken", "beat_due", "look_s", "patience_s", "silent")

    def __init__(self) -> None:
        self._spoken = False
        self._begin(DEFAULT)

    def _begin(self, rhythm: Rhythm) -> None:
        self._clock = Clock(rhythm.look_s)
        self._pulse = Pulse(rhythm, self._clock)
        self.look_s: float | None = rhythm.look_s
        self.patience_s = rhythm.timeout_s
        self.beat_due = self.silent = False

    def hear(self, message: Any) -> None:
        """The broker has sent this; its first message says whether it has heartbeats."""
        if self._spoken:
            self._pulse.heard = True
            return
        self._spoken = True
        rhythm = Rhythm.told(message.heartbeats)
        if rhythm is None:
            self.look_s = None
        else:
            self._begin(rhythm)
            # So that the broker learns at once that we know them.
            self.beat_due = True

    def say(self) -> None:
        """Something has been sent."""
        self.beat_due = False
        self._pulse.said = True

    def listen(self) -> None:
        """The broker has had no reason to speak so far; from now on it has."""
        self._pulse.heard = True

    def look(self) -> None:
        """See whether it is time for something."""
        if self.look_s is None:
            return
        self._clock.look()
        if self._spoken and self._pulse.due:
            self.beat_due = True
        self.silent = self._pulse.silent
