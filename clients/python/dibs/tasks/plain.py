"""Annotations that say what JSON has anyway: nothing is converted for them, and nothing is loaded."""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any, Literal, TypeAlias, get_args, get_origin

#: A part of a JSON Schema.
Schema: TypeAlias = dict[str, Any]

_TYPES: dict[Any, Schema] = {
    Any: {},
    object: {},
    None: {"type": "null"},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    list: {"type": "array"},
    dict: {"type": "object"},
}
_LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNIONS = (typing.Union, types.UnionType)
_REQUIREDNESS = (typing.Required, typing.NotRequired)
#: Types within types that are looked at; what goes deeper, as what names itself does, is left to who converts.
_DEPTH = 20


def plain_schema(hint: Any, depth: int = _DEPTH) -> Schema | None:
    """The JSON Schema of a type whose values are JSON as they are; None for another type."""
    try:
        if hint in _TYPES:
            return dict(_TYPES[hint])
    except TypeError:  # not hashable, so it is none of them
        return None
    if not depth:
        return None
    hint = _without_wrapping(hint)
    if isinstance(hint, typing.TypeVar):
        return plain_schema(hint.__bound__, depth - 1) if hint.__bound__ is not None else {}
    if typing.is_typeddict(hint):
        return _typed_dict(hint, depth - 1)
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in _UNIONS:
        return _any_of(arguments, depth - 1)
    if origin is Literal:
        return {"enum": list(arguments)} if all(isinstance(one, _SCALARS) for one in arguments) else None
    if origin in _LISTS:
        return _with("array", "items", arguments[0] if arguments else Any, depth - 1)
    if origin in _OBJECTS:
        key, value = arguments or (str, Any)
        return _with("object", "additionalProperties", value, depth - 1) if key in (str, Any) else None
    return dict(_TYPES[hint]) if hint in _TYPES else None


#: Exactly these: an Enum may be a str, too.
_SCALARS = (str, int, bool, type(None))


def _without_wrapping(hint: Any) -> Any:
    """The type that stands in Annotated, NewType, Required, or behind ``type X = ...``."""
    while True:
        origin = get_origin(hint)
        if origin is typing.Annotated or origin in _REQUIREDNESS:
            hint = get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # since Python 3.12
            hint = hint.__value__
        else:
            return hint


def _with(kind: str, of: str, hint: Any, depth: int) -> Schema | None:
    inner = plain_schema(hint, depth)
    if inner is None:
        return None
    return {"type": kind, of: inner} if inner else {"type": kind}


def _any_of(hints: tuple[Any, ...], depth: int) -> Schema | None:
    inner = [plain_schema(one, depth) for one in hints]
    if not all(one is not None for one in inner):
        return None
    return {"anyOf": inner} if all(inner) else {}


def _typed_dict(hint: Any, depth: int) -> Schema | None:
    try:
        hints = typing.get_type_hints(hint, include_extras=True)
    except Exception:  # noqa: BLE001 - its annotations may name what is not there
        return None
    properties = {name: plain_schema(inner, depth) for name, inner in hints.items()}
    if None in properties.values():
        return None
    required = sorted(hint.__required_keys__)
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}
