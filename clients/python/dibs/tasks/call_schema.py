"""Calls of tasks whose code is elsewhere, checked by the JSON Schema that their worker has registered.

The schema is that of an object with the arguments by name. Beside what JSON Schema says it has a member ``x-dibs``: the
names of what can be passed by place, in order, and of what can be passed by place only, a schema of further ones (or
false), and one of the result.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import PayloadError
from . import hints

_log = logging.getLogger("dibs")

_KINDS: dict[str, tuple[type, ...]] = {
    "array": (list, tuple),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "string": (str,),
}
#: How deep values are looked into.
_DEPTH = 50
#: Characters of a value that are shown.
_SHOWN = 60


class CallSchema:
    """What a worker has said of the arguments of a task.

    Args:
        schema: the schema.
        name: of the task.

    Attributes:
        names: of the arguments.
    """

    __slots__ = ("_definitions", "_more", "_name", "_places", "_properties", "_required", "_rest", "_unnamed", "names")

    def __init__(self, schema: Mapping[str, Any], name: str) -> None:
        self._name = name
        self._properties: dict[str, Any] = dict(schema["properties"])
        self._required: list[str] = list(schema.get("required", ()))
        self._more = schema.get("additionalProperties", True)
        self._definitions: dict[str, Any] = dict(schema.get("$defs", {}))
        own = schema.get("x-dibs", {})
        self._places: list[str] = list(own.get("positional", self._properties))
        self._unnamed = frozenset(own.get("positionalOnly", ()))
        self._rest = own.get("morePositional", False)
        self.names = frozenset(self._properties) - self._unnamed

    @classmethod
    def parse(cls, text: str, name: str) -> CallSchema | None:
        """The schema that a text holds; None: none, or one that is not understood, by which nothing is checked."""
        if not text:
            return None
        try:
            return cls(json.loads(text), name)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            _log.debug("the schema of task %s is not understood: %s", name, error)
            return None

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Check a call.

        Raises:
            TypeError: an argument is missing, or there is one too many.
            PayloadError: one is not what the task takes; the text names it.
        """
        for name, value, schema in self._named(args, kwargs):
            found = self._mismatch(value, schema, _DEPTH)
            if found is not None:
                path, told = found
                raise PayloadError(f"argument {name + path!r} of {self._name} {told}")

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        places = self._places
        if len(args) > len(places) and self._rest is False:
            raise TypeError(f"{self._name}() takes {len(places)} positional arguments but {len(args)} were given")
        by_place = dict(zip(places, args, strict=False))
        for name in kwargs:
            if name in by_place and name not in self._unnamed:
                raise TypeError(f"{self._name}() got multiple values for argument {name!r}")
            if name not in self.names and self._more is False:
                hint = hints.for_keywords([name], self.names - kwargs.keys())
                raise TypeError(f"{self._name}() got an unexpected keyword argument {name!r}{hint}")
        missing = [name for name in self._required if name not in by_place and name not in kwargs]
        if missing:
            raise TypeError(f"{self._name}() is missing the argument {missing[0]!r}")
        for name, value in by_place.items():
            yield name, value, self._properties.get(name, True)
        for at, value in enumerate(args[len(places) :]):
            yield f"args[{at}]", value, self._rest
        for name, value in kwargs.items():
            yield name, value, self._properties[name] if name in self.names else self._more

    def _mismatch(self, value: Any, schema: Any, depth: int) -> tuple[str, str] | None:
        """Where a value is not what a schema says, and what it must be there; what is not understood is not checked."""
        if not depth or not isinstance(schema, dict):
            return None
        reference = schema.get("$ref", "")
        if reference.startswith("#/$defs/"):
            return self._mismatch(value, self._definitions.get(reference[len("#/$defs/") :]), depth - 1)
        if "anyOf" in schema:
            return self._none_of(value, schema["anyOf"], depth - 1)
        if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
            return "", _must_be(" or ".join(json.dumps(one) for one in schema["enum"][:20]), value)
        said = schema.get("type", [])
        kinds: list[str] = [said] if isinstance(said, str) else list(said)
        if kinds and not any(_is_of(value, kind) for kind in kinds):
            return "", _must_be(" or ".join(_article(kind) for kind in kinds), value)
        if isinstance(value, dict):
            return self._in_object(value, schema, depth - 1)
        if isinstance(value, list | tuple):
            return self._in_array(value, schema, depth - 1)
        return None

    def _none_of(self, value: Any, schemas: Sequence[Any], depth: int) -> tuple[str, str] | None:
        """As `_mismatch`, of a value that has to fit one of several schemas."""
        tried = []
        for schema in schemas:
            found = self._mismatch(value, schema, depth)
            if found is None:
                return None
            tried.append(found)
        inside = [found for found in tried if found[0] or not found[1].startswith("must be ")]
        if inside:  # the right kind of value, with something wrong in it
            return inside[0]
        kinds = dict.fromkeys(told.removeprefix("must be ").partition(",")[0] for _, told in tried)
        return "", _must_be(" or ".join(kinds), value)

    def _in_object(self, value: dict[str, Any], schema: dict[str, Any], depth: int) -> tuple[str, str] | None:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                return "", f"lacks {name!r}"
        for name, one in value.items():
            inner = properties.get(name, schema.get("additionalProperties"))
            if inner is False:
                return "", f"must not have {name!r}"
            found = self._mismatch(one, inner, depth)
            if found is not None:
                return f"[{name!r}]{found[0]}", found[1]
        return None

    def _in_array(self, value: Sequence[Any], schema: dict[str, Any], depth: int) -> tuple[str, str] | None:
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not least <= len(value) <= most:
            return "", f"must have {least if least == most else f'{least} to {most}'} entries, not {len(value)}"
        first = schema.get("prefixItems", ())
        for at, one in enumerate(value):
            found = self._mismatch(one, first[at] if at < len(first) else schema.get("items"), depth)
            if found is not None:
                return f"[{at}]{found[0]}", found[1]
        return None


def _is_of(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        whole = kind == "number" or not isinstance(value, float) or value.is_integer()
        return isinstance(value, int | float) and not isinstance(value, bool) and whole
    return isinstance(value, _KINDS.get(kind, object))


def _same(value: Any, other: Any) -> bool:
    """Whether JSON has no difference between them: True is not 1 there."""
    return isinstance(value, bool) is isinstance(other, bool) and bool(value == other)


def _article(kind: str) -> str:
    return kind if kind == "null" else f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _must_be(what: str, value: Any) -> str:
    shown = repr(value)
    return f"must be {what}, not {shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + '…'}"
