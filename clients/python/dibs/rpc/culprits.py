"""Which part of a value it is that JSON cannot express, and what to do about it."""

from __future__ import annotations

import math
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple
from uuid import UUID

_CONVERTED = (bytes, bytearray, set, frozenset, date, time, timedelta, UUID, Decimal, Enum, PurePath)
#: Values in values that are looked into; what is nested deeper is not named.
_DEPTH = 50
#: Values of one list or object that are looked at.
_MOST = 100_000


class Culprit(NamedTuple):
    """Something that is no JSON.

    Attributes:
        path: from the value to it, such as ``["items"][3]``; empty for the value itself.
        reason: what it is, and what to do, as the end of a sentence that names it.
        can_be_annotated: whether an annotation of its type would have written it.
    """

    path: str
    reason: str
    can_be_annotated: bool = False


def culprit(value: object, depth: int = _DEPTH) -> Culprit | None:
    """The first part of a value that JSON cannot express; None: there is none, or it is not found."""
    if value is None or isinstance(value, bool | int | str):
        return None
    if isinstance(value, float):
        if math.isfinite(value):
            return None
        return Culprit("", f"JSON has no number for {value}: pass None, or text")
    if isinstance(value, dict | list | tuple):
        return _inside(value, depth - 1) if depth else None
    kind = type(value).__qualname__
    return Culprit("", f"{_article(kind)} cannot be written as JSON: {_remedy(value)}", _has_a_form(value))


def _inside(value: dict[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> Culprit | None:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for seen, (key, one) in enumerate(pairs):
        if seen == _MOST:
            return None
        if isinstance(value, dict) and not isinstance(key, str | int | float | bool | None):
            kind = type(key).__qualname__
            return Culprit("", f"{_article(kind)} cannot be a name in a JSON object: use text as keys")
        found = culprit(one, depth)
        if found is not None:
            return Culprit(f"[{key!r}]{found.path}", found.reason, found.can_be_annotated)
    return None


def _remedy(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return "pass text, such as base64"
    if isinstance(value, set | frozenset):
        return "pass a list"
    return "pass what JSON has: text, a number, a list, a dict"


def _has_a_form(value: object) -> bool:
    """Whether tasks write such values where an annotation names their type."""
    kind = type(value)
    marks = ("__dataclass_fields__", "__attrs_attrs__", "model_validate_json")
    return isinstance(value, _CONVERTED) or any(hasattr(kind, mark) for mark in marks)


def _article(kind: str) -> str:
    if kind == "bytes":
        return kind
    return f"an {kind}" if kind[:1] in "AEIOUaeiou" and kind != "UUID" else f"a {kind}"
