"""What a worker tells those who watch it: tests that await it, metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_log = logging.getLogger("dibs.worker")


class EventName(StrEnum):
    """What can happen to a worker. Each member's comment names the details that come with it."""

    #: Its slots are ready.
    STARTED = "started"
    #: A stream to a broker is open. target
    CONNECTED = "connected"
    #: A stream has ended. target, reason (text), error (whether it broke)
    DISCONNECTED = "disconnected"
    #: Items have arrived. count
    RECEIVED = "received"
    #: Items have been run, whatever came of them. count
    FINISHED = "finished"
    #: Items that had not begun go back to their queue. count
    RELEASED = "released"
    #: The broker has settled everything of a message. sequence
    CONFIRMED = "confirmed"
    #: The broker goes away; the worker looks for another one. target
    DRAINED = "drained"
    #: It takes no more items.
    STOPPING = "stopping"
    #: It is over. unfinished (number of items that still ran)
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        name: what.
        details: as the comments of `EventName` say.
    """

    name: EventName
    details: Mapping[str, Any] = field(default_factory=dict)


Observer = Callable[[Event], None]


class Announcer:
    """Passes events on to an observer, which is called in the worker's loop and must not block."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer

    def __call__(self, name: EventName, **details: Any) -> None:
        """Tells the observer; an error of its own is logged and goes no further."""
        if self._observer is not None:
            try:
                self._observer(Event(name, details))
            except Exception:  # noqa: BLE001 - an observer must not stop the worker
                _log.exception("the observer of a worker failed on %s", name)
