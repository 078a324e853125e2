"""What can be wrong with the fields of a request."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from dibs.contract.fields import is_repeated

from .requests import GOOD, Place, places

NAMES = ("bra{ce", "bra}ce", "co:lon", "blank ", "line\n", "naïve", "\0", "x" * 129)
IDS = ("bl ank", "tab\t", "line\n", "naïve", "\x7f", "x" * 129)
TEXTS = ("", "line\n", "\0", "x" * 257)
TOO_LONG = [Duration(seconds=10**12), Duration(seconds=2**63 - 1)]
DURATIONS = [
    Duration(seconds=-1),
    Duration(nanos=-1),
    Duration(seconds=1, nanos=-1),
    Duration(seconds=-1, nanos=1),
    Duration(nanos=10**9),
    Duration(seconds=-(2**63)),
    *TOO_LONG,
]
TIMES = [Timestamp(seconds=10**12), Timestamp(nanos=-1), Timestamp(nanos=10**9), Timestamp(seconds=-(2**63))]

#: Values that are bad, by the name of the field.
BAD: Mapping[str, Sequence[Any]] = {
    "namespace": NAMES,
    "queue": ("", *NAMES),
    "queues": NAMES,
    "dead_letter_queue": NAMES,
    "default_dead_letter_queue": NAMES,
    "id": IDS,
    "ids": ("", *IDS),
    "request_id": IDS,
    "received_request_id": IDS,
    "received_tokens": (0, -1, -(2**63)),
    "max_crashes": (-1, -(2**31), 1001),
    "owner": IDS,
    "group": TEXTS,
    "worker_id": TEXTS,
    "task_name": TEXTS,
    "task_names": TEXTS,
    "cron": ("", "nonsense", "61 * * * *", "0 0 31 2 *", "* " * 300),
    "time_zone": ("Mars/Base", "../../etc/passwd", "line\n", "x" * 1000),
    "page_token": ("?", "AAAA", "x" * 10_000, "naïve"),
    "page_size": (-1, 1001, 2**31 - 1),
    "max_items": (-1, 1001, 2**31 - 1),
    "attempts": (-1, -(2**31), 2**31 - 1, 1_000_001),
    "default_attempts": (-1, -(2**31), 2**31 - 1, 1_000_001),
    "overdue_count": (-1, 20_001, 2**31 - 1),
    "add_credit": (10_001, 2**31 - 1),
    "multiplier": (math.nan, math.inf, -1.0, 0.5, 100.1),
    "jitter": (math.nan, math.inf, -0.1, 1.1),
    "priority": (math.nan, math.inf, -math.inf, 2e12),
    "payload": (b"x" * (256 * 1024 + 1),),
}
#: Bad headers.
HEADERS = {"many": {str(n): "" for n in range(33)}, "large": {"x": "x" * 8192}, "no name": {"": "x"}}
#: Lengths that are too many, of lists.
TOO_MANY = {"task_names": 10_001, "received_tokens": 10_001}
#: Lists that must not be empty.
NEEDED = {"Enqueue.items", "Ack.entries", "Nack.entries", "Refresh.entries", "Cancel.ids", "Result.ids"}
NEEDED |= {"DeleteItems.ids", "DeleteSchedules.names", "RegisterTasks.tasks"}
#: Values that are fine in one place although they are bad in others.
FINE: Mapping[str, Sequence[Any]] = {
    **dict.fromkeys(("ListDeadLetters.queue", "TakeDeadLetters.queue"), ("",)),
    **dict.fromkeys(("RedriveDeadLetters.queue", "PurgeDeadLetters.queue"), ("",)),
    **dict.fromkeys(("ListQueues.kind", "ListDeadLetterQueues.kind"), (0,)),
}

#: Path of the field that is to blame, a word about what is wrong, and what makes a good request wrong in that way.
Bad = tuple[str, str, Callable[[Any], None]]


def bad_values(method: str, at: int) -> Iterator[Bad]:
    """What can be wrong with one message of a method."""
    for place in places(GOOD[method][at]):
        field = place.field
        name, key = field.name, f"{method}.{place.path.removeprefix('request.')}"
        fine = FINE.get(key, ())
        if is_repeated(field) and not (field.message_type and field.message_type.GetOptions().map_entry):
            yield from _bad_lists(place, key, at)
        elif field.message_type is Duration.DESCRIPTOR:
            for value in DURATIONS:
                yield place.path, str(value), _copier(place, value)
        elif field.message_type is Timestamp.DESCRIPTOR:
            for time in TIMES:
                yield place.path, str(time), _copier(place, time)
        elif field.enum_type is not None:
            for number in (7, -1, 2**31 - 1, *((0,) if name == "kind" else ())):
                if number not in fine:
                    yield place.path, str(number), _setter(place, number)
        elif name in BAD or name == "name":
            for value in BAD.get(name, TEXTS):
                if value not in fine:
                    yield place.path, repr(value)[:40], _setter(place, value)
        elif name == "headers":
            for word, headers in HEADERS.items():
                yield place.path, word, _updater(place, headers)
        elif name == "lease_token" and ("entries" in place.path or "begun" in place.path):
            for token in (0, -1, -(2**63)):
                yield place.path, str(token), _setter(place, token)


def _bad_lists(place: Place, key: str, at: int) -> Iterator[Bad]:
    name = place.field.name

    def many(request: Any) -> None:
        found = getattr(place.within(request), name)
        found.extend([found[0]] * TOO_MANY.get(name, 1001) if place.field.message_type else _many(name))

    def none(request: Any) -> None:
        place.within(request).ClearField(name)

    if place.field.message_type is not None and not getattr(place.within(GOOD[key.partition(".")[0]][at]), name):
        return
    blame = "acks" if name in ("nacks", "refreshes") else place.path
    yield blame, "too many", many
    if key in NEEDED:
        yield place.path, "none", none
    if place.field.message_type is None:
        bad = BAD.get(name) or (TEXTS if key in ("ListTasks.names", "DeleteSchedules.names") else NAMES)
        for value in bad:
            yield f"{place.path}[0]", repr(value)[:40], _lister(place, value)


def _many(name: str) -> list[Any]:
    numbers = range(1, TOO_MANY.get(name, 1001) + 1)
    return list(numbers) if name == "received_tokens" else [f"x{n}" for n in numbers]


def _setter(place: Place, value: Any) -> Callable[[Any], None]:
    return lambda request: setattr(place.within(request), place.field.name, value)


def _copier(place: Place, value: Message) -> Callable[[Any], None]:
    return lambda request: getattr(place.within(request), place.field.name).CopyFrom(value)


def _updater(place: Place, headers: Mapping[str, str]) -> Callable[[Any], None]:
    return lambda request: place.within(request).headers.update(headers)


def _lister(place: Place, value: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        owner = place.within(request)
        owner.ClearField(place.field.name)
        getattr(owner, place.field.name).append(value)

    return change
