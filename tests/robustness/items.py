"""A history read item by item."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .history import Event
from .kinds import KINDS, Kind

#: States that the audit may find of an item that has come to its end.
ENDS = frozenset(("SUCCEEDED", "FAILED", "CANCELLED"))
#: What an item says that was given up without having been received by anybody.
NEVER_RECEIVED = "was never received"


@dataclass
class Item:
    """What became of one item, as those saw it who had to do with it.

    Attributes:
        uid: its name in its payload.
        kind: its kind, as it was put in; None if it never was.
        asked: when it was about to be put in.
        confirmed: when that was confirmed to have happened, the first time.
        came: each time that somebody received it: a task began, a consumer got it.
        ran: ends of its function.
        acks: what came of its consumers' acks.
        nacks: the same of nacks.
        letters: takings of its dead letter.
        results: what somebody who waited for it was told.
        state: what the broker said of it at the end.
    """

    uid: str
    kind: Kind | None = None
    asked: Event | None = None
    confirmed: Event | None = None
    came: list[Event] = field(default_factory=list)
    ran: list[Event] = field(default_factory=list)
    acks: list[Event] = field(default_factory=list)
    nacks: list[Event] = field(default_factory=list)
    letters: list[Event] = field(default_factory=list)
    results: list[Event] = field(default_factory=list)
    state: Event | None = None

    @property
    def ids(self) -> set[str]:
        """Ids under which it came out or is known."""
        seen = [*self.came, *self.letters, *([self.confirmed] if self.confirmed else [])]
        return {event.id for event in seen}

    @property
    def final_state(self) -> str:
        """State at the end; empty if nobody asked."""
        return self.state.text.partition(": ")[0] if self.state else ""

    @property
    def last_error(self) -> str:
        """What its dead letter or its state says that it died of."""
        if self.letters:
            return self.letters[-1].text
        return self.state.text.partition(": ")[2] if self.state else ""

    @property
    def died(self) -> bool:
        """Whether it ended without having been done."""
        return bool(self.letters) or self.final_state in ("FAILED", "DEAD")

    @property
    def done(self) -> bool:
        """Whether somebody was told that it has been done."""
        return any(ack.ok for ack in self.acks) or self.final_state == "SUCCEEDED" or any(r.ok for r in self.results)

    @property
    def attempts_seen(self) -> set[int]:
        """Numbers of the deliveries that somebody received."""
        return {event.attempt for event in self.came if event.attempt}

    @property
    def uncounted(self) -> int:
        """Deliveries that somebody received and that carry the number of another."""
        numbered = [event for event in self.came if event.attempt]
        return len(numbered) - len({event.attempt for event in numbered})

    def tell(self) -> str:
        """Its life in a line, for whoever looks into a failure."""
        events = [*self.came, *self.ran, *self.acks, *self.nacks, *self.letters, *self.results]
        events += [event for event in (self.asked, self.confirmed, self.state) if event is not None]
        start = min((event.mono for event in events), default=0.0)
        words = [
            f"+{event.mono - start:.3f} {event.role} {event.what}"
            + (f" #{event.attempt}" if event.attempt else "")
            + (f" token {event.token}" if event.token else "")
            + (f" ({event.text.strip().splitlines()[-1][:80]})" if event.text.strip() else "")
            for event in sorted(events, key=lambda event: event.mono)
        ]
        return "; ".join(words)


#: List of an `Item` that events of a name go to.
_LISTS = {
    "began": "came",
    "delivered": "came",
    "ended": "ran",
    "acked": "acks",
    "nacked": "nacks",
    "letter": "letters",
    "done": "results",
}


def by_item(events: Iterable[Event]) -> dict[str, Item]:
    """Items by their names, from events in order of time."""
    items: dict[str, Item] = {}
    for event in events:
        if not event.uid:
            continue
        item = items.setdefault(event.uid, Item(event.uid))
        if event.what == "asked":
            item.asked, item.kind = event, KINDS[event.kind]
        elif event.what == "enqueued":
            item.confirmed = item.confirmed or event
        elif event.what == "state":
            item.state = event
        elif event.what in _LISTS:
            getattr(item, _LISTS[event.what]).append(event)
    return items
