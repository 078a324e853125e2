"""Heartbeats of the streams of a broker: one timer for all of them, which runs while there are any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dibs.contract.heartbeats import Clock, Pulse, Rhythm
from dibs.v1 import types_pb2 as tpb

from ..config.limits import Limits
from ..config.units import microseconds
from ..messages.enums import duration


@dataclass(frozen=True, slots=True, eq=False)
class _Watched:
    pulse: Pulse
    beat: Callable[[], None]
    silent: Callable[[], None] | None


class Heartbeats:
    """Has streams say that they are alive, and hears who is not.

    Args:
        limits: with the rhythm; an interval of 0 switches all of it off.

    Attributes:
        rhythm: to be kept to; None: there are no heartbeats.
        announcement: the same as the wire has it, only ever copied from.
    """

    def __init__(self, limits: Limits) -> None:
        interval_s = limits.heartbeat_interval.total_seconds()
        self.rhythm = Rhythm(interval_s, limits.heartbeat_timeout.total_seconds()) if interval_s else None
        self.announcement = _announcement(limits) if interval_s else None
        self._clock: Clock | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watched: dict[_Watched, None] = {}

    @contextmanager
    def watch(self, beat: Callable[[], None], silent: Callable[[], None] | None = None) -> Iterator[Pulse]:
        """Look after one stream inside the with. Only while there is a rhythm.

        Args:
            beat: called when an empty message is due; must not block.
            silent: called at each look when the other side has said nothing for too long; must not block. None: the
                other side does not say anything.
        """
        assert self.rhythm is not None, "this broker has no heartbeats"
        clock = self._clock
        if clock is None:
            clock = self._clock = Clock(self.rhythm.look_s)
            self._timer = asyncio.get_running_loop().call_later(self.rhythm.look_s, self._look)
        watched = _Watched(Pulse(self.rhythm, clock), beat, silent)
        self._watched[watched] = None
        try:
            yield watched.pulse
        finally:
            del self._watched[watched]
            if not self._watched and self._timer is not None:
                self._timer.cancel()
                self._timer = self._clock = None

    def _look(self) -> None:
        assert self.rhythm is not None
        assert self._clock is not None
        self._timer = asyncio.get_running_loop().call_later(self.rhythm.look_s, self._look)
        self._clock.look()
        for watched in tuple(self._watched):
            if watched.pulse.due:
                watched.beat()
            if watched.silent is not None and watched.pulse.silent:
                watched.silent()


def _announcement(limits: Limits) -> tpb.Heartbeats:
    return tpb.Heartbeats(
        interval=duration(microseconds(limits.heartbeat_interval)),
        timeout=duration(microseconds(limits.heartbeat_timeout)),
    )
