"""Checks of what stands in requests. Each takes a value and the path of its field and raises `InvalidField`.

They run for every entry of every batch, so they take plain values, build texts only when they fail, and remember
names that were good (names repeat; ids do not). Paths are relative to the message that is looked at: whoever walks
a list catches the error once and adds the way there with `InvalidField.under("items[3]")`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dibs.contract.names import DEFAULT_NAMESPACE, NAME

from ..border.errors import InvalidField

_K = TypeVar("_K", bound=int)
_T = TypeVar("_T")

#: Longest name of a task that is remembered, in characters.
_LONGEST_KNOWN = 256
_NANOS = 1_000_000_000
# What google.protobuf.Timestamp allows: from year 1 to year 9999.
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799


@lru_cache(maxsize=8192)
def name(value: str, field: str, max_length: int) -> str:
    """A queue's or namespace's name: 1 to `max_length` of `[A-Za-z0-9_./@-]`."""
    if len(value) > max_length or NAME.fullmatch(value) is None:
        raise InvalidField(field, f"must be 1 to {max_length} characters of [A-Za-z0-9_./@-]")
    return value


def namespace(value: str, max_length: int, field: str = "namespace") -> str:
    """The request's namespace; empty means `default`."""
    return name(value, field, max_length) if value else DEFAULT_NAMESPACE


def task_name(value: str, field: str, max_length: int) -> str:
    """A task's name: 1 to `max_length` printable characters."""
    return (_known_text if len(value) <= _LONGEST_KNOWN else text)(value, field, max_length)


def text(value: str, field: str, max_length: int) -> str:
    """Text for people, such as a worker's name: 1 to `max_length` printable characters."""
    if not value or len(value) > max_length or not value.isprintable():
        raise InvalidField(field, f"must be 1 to {max_length} printable characters")
    return value


_known_text = lru_cache(maxsize=8192)(text)


def identifier(value: str, field: str, max_length: int) -> str:
    """An item's or request's id: 1 to `max_length` printable ASCII characters without blanks."""
    if not value or len(value) > max_length or not (value.isascii() and value.isprintable()) or " " in value:
        raise InvalidField(field, f"must be 1 to {max_length} printable ASCII characters without blanks")
    return value


def identifiers(values: Sequence[str], field: str, max_length: int, *, optional: bool = False) -> None:
    """The ids of a batch, looked at all together: an eighth of the time that one by one takes.

    Args:
        values: the ids.
        field: path of each, with `{}` for its place.
        max_length: of each.
        optional: whether some may be empty.
    """
    together = "".join(values)
    if (
        (together.isascii() and together.isprintable() and " " not in together)
        and max(map(len, values), default=0) <= max_length
        and (optional or all(values))
    ):
        return
    for at, value in enumerate(values):
        if value or not optional:
            identifier(value, field.format(at), max_length)


def choice(value: _K, field: str, choices: Mapping[_K, _T]) -> _T:
    """What a value of an enum stands for; values that are not among the choices are refused."""
    try:
        return choices[value]
    except KeyError:
        known = ", ".join(str(number) for number in sorted(choices))
        raise InvalidField(field, f"is {value}, must be one of {known}") from None


def integer(value: int, field: str, minimum: int, maximum: int, *, limit: str = "") -> int:
    """A whole number within bounds; `limit` is the name of the upper one, if clients know it by one."""
    if not minimum <= value <= maximum:
        told = (limit, maximum) if limit and value > maximum else None
        raise InvalidField(field, f"is {value}, must be {minimum} to {maximum}", told)
    return value


def number(value: float, field: str, minimum: float, maximum: float) -> float:
    """A number within bounds; NaN is in none. The zero that has a sign loses it: scripts would not read that."""
    if not minimum <= value <= maximum:
        raise InvalidField(field, f"is {value:g}, must be {minimum:g} to {maximum:g}")
    return value + 0.0


def batch(entries: int, field: str, maximum: int, *, minimum: int = 1) -> int:
    """The number of entries of a batch: as a rule 1 to `maximum`, which is the announced `max_batch_items`."""
    if not minimum <= entries <= maximum:
        told = ("max_batch_items", maximum) if entries > maximum else None
        raise InvalidField(field, f"has {entries} entries, must have {minimum} to {maximum}", told)
    return entries


def wait_us(value: Duration, field: str, maximum_us: int) -> int:
    """How long a call may wait, in microseconds: at most the announced `max_wait`."""
    try:
        return duration_us(value, field, maximum_us)
    except InvalidField as error:
        told = ("max_wait", maximum_us / 1e6) if value.seconds * 1_000_000 >= maximum_us else None
        raise InvalidField(error.field, error.description, told) from None


def lease_token(value: int, field: str) -> int:
    """The token of a lease: above 0."""
    if value <= 0:
        raise InvalidField(field, "must be the token of the lease, above 0")
    return value


def duration_us(
    value: Duration, field: str, maximum_us: int, *, minimum_us: int = 0, zero_allowed: bool = False
) -> int:
    """A length of time in microseconds, rounded up so that a little never becomes nothing.

    Args:
        value: the message; absent fields are for the caller to tell apart.
        field: its path.
        maximum_us: longest, in microseconds.
        minimum_us: shortest, in microseconds.
        zero_allowed: take 0 although it is below `minimum_us`.
    """
    seconds, nanos = value.seconds, value.nanos
    if not 0 <= nanos < _NANOS or seconds < 0:
        if -_NANOS < nanos <= 0 and seconds <= 0:
            raise InvalidField(field, "must not be negative")
        raise InvalidField(field, "is malformed: nanos must be 0 to 999999999, with the sign of seconds")
    length = seconds * 1_000_000 + (nanos + 999) // 1000
    if minimum_us <= length <= maximum_us or (zero_allowed and length == 0):
        return length
    least = f"0, or {_s(minimum_us)}" if zero_allowed else _s(minimum_us)
    raise InvalidField(field, f"is {_s(length)}, must be {least} to {_s(maximum_us)}")


def timestamp_us(value: Timestamp, field: str) -> int:
    """A point in time in microseconds since 1970, rounded up so that nothing is due before it."""
    seconds, nanos = value.seconds, value.nanos
    if not (0 <= nanos < _NANOS and _FIRST_SECOND <= seconds <= _LAST_SECOND):
        raise InvalidField(field, "is malformed: must be a time from year 1 to 9999 with nanos of 0 to 999999999")
    return seconds * 1_000_000 + (nanos + 999) // 1000


def payload(value: bytes, field: str, max_bytes: int) -> bytes:
    """Opaque bytes, at most `max_bytes`."""
    if len(value) > max_bytes:
        raise InvalidField(field, f"has {len(value)} bytes, must have at most {max_bytes}")
    return value


def payloads(values: Sequence[bytes], field: str, max_bytes: int) -> None:
    """The payloads of a batch; `field` is the path of each, with `{}` for its place."""
    if max(map(len, values), default=0) > max_bytes:
        for at, value in enumerate(values):
            payload(value, field.format(at), max_bytes)


def headers(value: Mapping[str, str], field: str, max_entries: int, max_bytes: int) -> None:
    """Headers: at most `max_entries`, with names and values of at most `max_bytes` in all, no empty name."""
    if not value:
        return
    if len(value) > max_entries:
        raise InvalidField(field, f"has {len(value)} entries, must have at most {max_entries}")
    size = 0
    for key, entry in value.items():
        if not key:
            raise InvalidField(field, "must have no empty names")
        size += len(key.encode()) + len(entry.encode())
    if size > max_bytes:
        raise InvalidField(field, f"has {size} bytes in all, must have at most {max_bytes}")


def cut(value: str, max_bytes: int) -> str:
    """Text cut off, between characters, after at most `max_bytes` bytes of UTF-8."""
    if len(value) * 4 <= max_bytes:
        return value
    encoded = value.encode()
    return value if len(encoded) <= max_bytes else encoded[:max_bytes].decode(errors="ignore")


def _s(microseconds: int) -> str:
    return f"{microseconds / 1e6:.15g} s"
