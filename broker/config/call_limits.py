"""How much one caller may use of a broker, by the settings and by the file of `--auth-file`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, Field

from .principals import CallLimits
from .units import Size

_MOST = 2**53
#: Sets of limits that are remembered as they are meant; a file has as many as principals.
_MOST_REMEMBERED = 10_000


class CallerLimits(BaseModel):
    """What each principal, or each connection where nobody asks who calls, may use of a broker; part of its settings.

    0: as much as there is. What is beyond is refused with RESOURCE_EXHAUSTED, the reason CALLER_LIMIT, and a time
    after which it may be tried again.
    """

    max_calls_per_second: int = Field(
        default=0,
        ge=0,
        le=10**9,
        description="Most calls a second of one principal, or of one connection without principals, on average; 0: any "
        "number. Each request of an EnqueueStream counts.",
    )
    max_call_burst: int = Field(
        default=0,
        ge=0,
        le=_MOST,
        description="Most of these calls at once, after a pause; 0: as many as in a second.",
    )
    max_caller_streams: int = Field(
        default=0,
        ge=0,
        le=_MOST,
        description="Most open streams of one principal or connection, calls that wait among them; 0: any number.",
    )
    max_in_flight_bytes: Size = Field(
        default=0,
        ge=0,
        le=_MOST,
        description="Most bytes of requests of one principal or connection that are under way; 0: any number. A larger "
        "request goes alone.",
    )


class Allowance(NamedTuple):
    """How much one caller may use; 0: as much as there is."""

    calls_per_second: float = 0
    burst: int = 1
    streams: int = 0
    in_flight_bytes: int = 0


#: As much as there is.
UNLIMITED = Allowance()


class Allowances:
    """How much callers may use, by the settings and by the file as it is now.

    Attributes:
        any: whether there is a limit for anybody.
        every: for whoever has no limits of his own.
    """

    def __init__(self, settings: CallerLimits) -> None:
        self._settings = settings
        self._known: dict[CallLimits, Allowance] = {}
        self.every = self.of(CallLimits())
        self.any = self._limits(self.every)

    def take(self, limits: Iterable[CallLimits]) -> None:
        """Another file is in use, whose principals have these limits."""
        self.any = self._limits(self.every) or any(self._limits(self.of(one)) for one in limits)

    def of(self, limits: CallLimits) -> Allowance:
        """What somebody with these limits may use; what they leave out is as the settings say."""
        found = self._known.get(limits)
        if found is None:
            settings = self._settings
            rate = _either(limits.calls_per_second, settings.max_calls_per_second)
            burst = _either(limits.burst, 0 if limits.calls_per_second else settings.max_call_burst)
            found = Allowance(
                rate,
                int(burst) or max(1, math.ceil(rate)),
                int(_either(limits.streams, settings.max_caller_streams)),
                int(_either(limits.in_flight_bytes, settings.max_in_flight_bytes)),
            )
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[limits] = found
        return found

    @staticmethod
    def _limits(one: Allowance) -> bool:
        return bool(one.calls_per_second or one.streams or one.in_flight_bytes)


def _either(own: float | None, otherwise: float) -> float:
    return otherwise if own is None else own
