"""How values look to people: counts, ages, times, sizes, payloads."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ..codecs import Codecs, Zlib
from ..contract.sealed import is_sealed, shown
from ..contract.texts import one_line, plain
from ..errors import CodecError, PayloadError
from ..rpc.codec import decode_call, decode_json
from ..tasks.states import state_from_wire
from ..v1.types_pb2 import QUEUE_KIND_DATA, Content, ItemState, QueueKind

__all__ = [
    "NOTHING",
    "age",
    "arguments",
    "compact",
    "count",
    "kind_word",
    "moment",
    "one_line",
    "payload",
    "plain",
    "priority",
    "rate",
    "readable",
    "seconds_of",
    "since",
    "size",
    "state_word",
]

#: What every reader can take off.
_KEYLESS = Codecs(reads=[Zlib()])

#: What stands where there is nothing to say.
NOTHING = "–"


def count(number: int) -> str:
    """A number of things, with thousands set apart; 0 is a dot, so that what is there stands out."""
    return f"{number:,}" if number else "·"


def rate(per_second: float | None) -> str:
    """Things a second."""
    if per_second is None:
        return NOTHING
    if per_second == 0:
        return "·"
    return f"{per_second:,.0f}/s" if per_second >= 9.95 else f"{per_second:.2g}/s"


def age(seconds: float) -> str:
    """A length of time in its two largest units."""
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{seconds * 1e3:.1f} ms" if 0 < seconds < 0.00995 else f"{seconds * 1e3:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    return f"{hours} h {minute} m" if hours else f"{minutes} m {second} s"


def seconds_of(duration: Duration) -> float:
    """A Duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def moment(time: Timestamp) -> str:
    """A point in time, to the millisecond, on this machine's clock face."""
    local = time.ToDatetime(UTC).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}"


def since(time: Timestamp, now: datetime) -> float:
    """Seconds from `time` to `now`; negative when it is to come."""
    return (now - time.ToDatetime(UTC)).total_seconds()


def size(number: int) -> str:
    """An amount of bytes."""
    if number < 1024:
        return f"{number} B"
    power = min((number.bit_length() - 1) // 10, 4)
    return f"{_three(number / 1024**power)} {'KMGT'[power - 1]}iB"


def _three(value: float) -> str:
    """A number with about three digits that count, and none cut off before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def kind_word(kind: QueueKind.ValueType) -> str:
    """``task`` or ``data``."""
    return "data" if kind == QUEUE_KIND_DATA else "task"


def state_word(state: ItemState.ValueType) -> str:
    """Such as ``waiting``; ``unknown`` also for one that only a newer broker knows."""
    return state_from_wire(state).lower()


def priority(number: float | None) -> str:
    """A priority; none is nothing."""
    return NOTHING if number is None else f"{number:g}"


def arguments(content: Content, limit: int = 0) -> str:
    """What an item carries, as a call writes it: ``2, 3, name="x"``; data as it is."""
    if not content.task_name:
        return payload(content.payload, limit)
    try:
        args, kwargs = decode_call(readable(content.payload))
    except PayloadError:
        return payload(content.payload, limit)
    parts = [compact(value) for value in args] + [f"{name}={compact(value)}" for name, value in kwargs.items()]
    return one_line(", ".join(parts), limit)


def payload(data: bytes, limit: int = 0) -> str:
    """Bytes that should be JSON, on one line; what needs a key that is not here is named, not shown."""
    if not data:
        return ""
    try:
        return one_line(compact(decode_json(readable(data))), limit)
    except CodecError:
        return one_line(shown(data), limit)
    except PayloadError:
        return one_line(repr(data), limit)


def readable(data: bytes) -> bytes:
    """A payload or result without what needs no key to be taken off.

    Raises:
        CodecError: it needs one, or another codec.
    """
    return _KEYLESS.decode(data, b"") if is_sealed(data) else data


def compact(value: object) -> str:
    """JSON with little white space."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
