"""Values as they are written on a command line: lengths of time, kinds of queues, JSON."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Any

import typer

from ..errors import PayloadError
from ..rpc.codec import decode_json
from ..v1.types_pb2 import QUEUE_KIND_DATA, QUEUE_KIND_TASK, QueueKind

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)?")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}

#: The longest that may be written, in seconds: 3,660 days. What the broker takes is its own affair.
LONGEST_SPAN = 3_660 * 86_400.0
#: The largest whole number that fits into the contract's int32.
MAX_INT32 = 2**31 - 1


class Kind(StrEnum):
    """Kind of a queue, as an option has it."""

    TASK = "task"
    DATA = "data"

    @property
    def on_wire(self) -> QueueKind.ValueType:
        """As the broker has it."""
        return QUEUE_KIND_TASK if self is Kind.TASK else QUEUE_KIND_DATA


def span(text: str | float) -> float:
    """Seconds from ``500ms``, ``2s``, ``5m``, ``12h``, ``30d`` or a number of seconds, as which a default comes.

    Raises:
        typer.BadParameter: it is none of these.
    """
    if not isinstance(text, str):
        return text
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a length of time such as 500ms, 2s, 5m, 12h or 30d")
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if seconds > LONGEST_SPAN:
        raise typer.BadParameter(f"{text!r} is longer than 3660d")
    return seconds


def number(text: str | float) -> float:
    """A finite number.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise typer.BadParameter(f"{text!r} is not a number")
    return value


def json_list(text: str | None, option: str) -> list[Any]:
    """The list that an option holds as JSON; absent: an empty one.

    Raises:
        typer.BadParameter: naming the option.
    """
    value = json_value(text, option) if text is not None else []
    if not isinstance(value, list):
        raise typer.BadParameter('must be a JSON list such as [1, "two"]', param_hint=option)
    return value


def json_object(text: str | None, option: str) -> dict[str, Any]:
    """The object that an option holds as JSON; absent: an empty one.

    Raises:
        typer.BadParameter: naming the option.
    """
    value = json_value(text, option) if text is not None else {}
    if not isinstance(value, dict):
        raise typer.BadParameter('must be a JSON object such as {"name": 1}', param_hint=option)
    return value


def json_value(text: str, option: str) -> Any:
    """The value that an option holds as JSON.

    Raises:
        typer.BadParameter: naming the option.
    """
    try:
        return decode_json(text.encode("utf-8", "surrogateescape"))
    except PayloadError as error:
        raise typer.BadParameter(f"{text!r:.200} is {error}", param_hint=option) from None
