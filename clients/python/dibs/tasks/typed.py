"""Values of annotated types, to JSON and back, by msgspec.

Imported for tasks whose annotations name more than JSON has. msgspec was chosen because it has no dependencies, loads
in a fraction of the time of others, knows attrs classes as well as dataclasses, and refuses types of which it could not
tell one from another, such as ``datetime | str``, when they are named and not when a value comes. Models of pydantic
convert themselves.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

import msgspec
from msgspec import inspect

from ..rpc.culprits import culprit
from .plain import Schema

_BYTES = (bytes, bytearray)


#: Types of keys that JSON, whose names are text, gives back.
_KEYS = (
    inspect.AnyType,
    inspect.StrType,
    inspect.IntType,
    inspect.FloatType,
    inspect.BytesType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.DecimalType,
    inspect.EnumType,
    inspect.LiteralType,
)


class Unwritable(Exception):
    """A type cannot be written as JSON, or not be told from another; the text says which."""


class BadValue(Exception):
    """A value is not what its type says; the text says why."""


class TypedConverter:
    """Converts values of one type.

    Args:
        hint: the type.

    Raises:
        Unwritable: no JSON can be made of it.
    """

    __slots__ = ("_is_bytes", "_type", "schemas")

    def __init__(self, hint: Any) -> None:
        try:
            _refuse_unknown(inspect.type_info(hint), set())
            msgspec.json.Decoder(hint, dec_hook=_read)
            (own,), others = msgspec.json.schema_components([hint], schema_hook=_schema, ref_template="#/$defs/{name}")
        except (TypeError, NameError) as error:
            raise Unwritable(str(error)) from error
        self._type = hint
        # Text would be taken for base64.
        self._is_bytes = any(hint == kind or hint == typing.Optional[kind] for kind in _BYTES)  # noqa: UP045 - compared
        #: Its JSON Schema, and the definitions that this refers to.
        self.schemas: tuple[Schema, Schema] = (own, others)

    def write(self, value: Any) -> Any:
        """What stands for a value in JSON, made of text, numbers, lists and dicts.

        Raises:
            BadValue: it is not of the type.
        """
        if self._is_bytes and isinstance(value, str):
            raise BadValue("Expected `bytes`, got `str`")
        try:
            plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_write)
        except _OWN_CODE as error:
            found = culprit(value)
            raise BadValue(found.path + ": " + found.reason if found and found.path else str(error)) from error
        # What cannot be read again is told of here, and not where it is read.
        self.read(plain)
        return plain

    def read(self, plain: Any) -> Any:
        """The value that something from JSON stands for.

        Raises:
            BadValue: it stands for none of the type.
        """
        try:
            return msgspec.convert(plain, self._type, str_keys=True, dec_hook=_read)
        except _OWN_CODE as error:
            raise BadValue(str(error) or type(error).__name__) from error


#: Constructors and validators of users' classes raise anything.
_OWN_CODE = Exception


def _is_model(kind: Any) -> bool:
    """Whether a class is a model of pydantic."""
    return hasattr(kind, "model_validate_json") and hasattr(kind, "model_dump")


def _write(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if _is_model(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise NotImplementedError(f"{type(value).__qualname__} cannot be written as JSON")


def _read(kind: Any, plain: Any) -> Any:
    if isinstance(plain, kind):
        return plain
    if _is_model(kind):
        return kind.model_validate_json(json.dumps(plain))
    if issubclass(kind, PurePath) and isinstance(plain, str):
        return kind(plain)
    raise ValueError(f"Expected `{kind.__qualname__}`, got `{type(plain).__name__}`")


def _schema(kind: Any) -> Schema:
    if _is_model(kind):
        schema: Schema = kind.model_json_schema(ref_template=f"#/$defs/{kind.__name__}.{{model}}")
        return schema
    return {"type": "string"}


def _refuse_unknown(info: Any, seen: set[int]) -> None:
    """Refuse a type in which there is a class that nobody can convert."""
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, inspect.CustomType):
        kind = info.cls
        if not (isinstance(kind, type) and (_is_model(kind) or issubclass(kind, PurePath))):
            raise TypeError(f"{getattr(kind, '__qualname__', kind)} cannot be written as JSON")
    if isinstance(info, inspect.DictType) and not isinstance(info.key_type, _KEYS):
        raise TypeError("keys of a dict are text, numbers, or what is written as text")
    for part in _parts(info):
        _refuse_unknown(part, seen)


def _parts(info: Any) -> Iterator[Any]:
    """The types and fields that a type is made of."""
    for name in getattr(info, "__struct_fields__", ()):
        value = getattr(info, name)
        if isinstance(value, inspect.Type | inspect.Field):
            yield value
        elif isinstance(value, Iterable) and not isinstance(value, str):
            yield from (one for one in value if isinstance(one, inspect.Type | inspect.Field))
