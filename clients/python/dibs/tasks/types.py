"""What the annotations of one task's function say of its arguments and of what it returns."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from ..errors import DibsError, PayloadError
from .annotations import RETURN, annotations_of
from .binding import Binding
from .plain import Schema, plain_schema

if TYPE_CHECKING:
    from .typed import TypedConverter

_log = logging.getLogger("dibs")

_BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class TaskTypes:
    """Converts arguments and results by the annotations of a function. Safe to use from any thread.

    Args:
        function: the function.
        binding: its parameters.
        name: of the task, for errors.
        keeps_results: whether what it returns is kept as a rule, so that it has to be written.

    Raises:
        TypeError: an annotation names what cannot be written as JSON, or not be told from another type.
        DibsError: msgspec is needed, and not installed.
    """

    def __init__(self, function: Callable[..., Any], binding: Binding, name: str, *, keeps_results: bool) -> None:
        self._function = function
        self._binding = binding
        self._name = name
        self._keeps_results = keeps_results
        self._resolve(last=False)

    def _resolve(self, *, last: bool) -> None:
        """Find out what converts what; what is not there yet is looked for again when it is needed, once.

        Args:
            last: what is missing now stays as JSON has it, and that is said.
        """
        parameters = self._binding.parameters or []
        hints, missing = annotations_of(self._function, parameters)
        if missing and last:
            names = ", ".join(f"{missing[name]} of {name!r}" for name in missing)
            _log.warning("annotations of %s are not known here, so these are plain JSON: %s", self._name, names)
        self._pending = bool(missing) and not last
        converters: dict[str, TypedConverter] = {}
        schemas: dict[str, Schema] = {name: {} for name in missing}
        definitions: Schema = {}
        optional = {parameter.name for parameter in parameters if parameter.default is not Parameter.empty}
        for one, hint in hints.items():
            plain = plain_schema(hint)
            if plain is None:
                converter = self._converter(one, hint, may_be_left_out=one in optional)
                if converter is None:
                    plain = {}
                else:
                    converters[one] = converter
                    plain, others = converter.schemas
                    definitions.update(others)
            schemas[one] = plain
        self._places = [converters.get(p.name) for p in parameters if p.kind in _BY_PLACE]
        rest = next((p.name for p in parameters if p.kind is Parameter.VAR_POSITIONAL), "")
        more = next((p.name for p in parameters if p.kind is Parameter.VAR_KEYWORD), "")
        self._rest, self._more = converters.get(rest), converters.get(more)
        self._by_name = {name: converters.get(name) for name in self._binding.keywords}
        self._result = converters.get(RETURN)
        self._schemas, self._definitions = schemas, definitions
        #: Whether anything is to be converted.
        self.any = bool(converters) or self._pending

    def _converter(self, parameter: str, hint: Any, *, may_be_left_out: bool) -> TypedConverter | None:
        """Who converts a parameter; None: nobody can, and nobody needs to."""
        if parameter == RETURN:
            may_be_left_out = not self._keeps_results
        try:
            from .typed import TypedConverter, Unwritable
        except ModuleNotFoundError as error:
            if may_be_left_out:
                return None
            raise DibsError(
                f"{self._shown(parameter)} is {_shown(hint)}, which needs {error.name}: pip install 'dibs[typed]'"
            ) from error
        try:
            return TypedConverter(hint)
        except Unwritable as error:
            if may_be_left_out:
                return None
            raise TypeError(
                f"{self._shown(parameter)}: {error}. Annotate it with what JSON has, a dataclass, or another type that "
                "can be written (docs/tasks.md); Any leaves it as it is"
            ) from error

    def _shown(self, parameter: str) -> str:
        return f"the result of {self._name}" if parameter == RETURN else f"argument {parameter!r} of {self._name}"

    def write(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Arguments, as JSON has them.

        Raises:
            PayloadError: one is not what its annotation says; the text names it.
        """
        return self._convert(args, kwargs, "write")

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments from JSON, as the function has them.

        Raises:
            PayloadError: as for `write`.
        """
        return self._convert(args, kwargs, "read")

    def write_result(self, value: Any) -> Any:
        """What a function returned, as JSON has it.

        Raises:
            PayloadError: it is not what the annotation says.
        """
        self.settle()
        return value if self._result is None else self._one(RETURN, self._result, "write", value)

    def read_result(self, value: Any) -> Any:
        """A result from JSON, as the function returned it. None, and bytes of a worker that sends no JSON, stay.

        Raises:
            PayloadError: it is not what the annotation says: another version of the task may have made it.
        """
        self.settle()
        if self._result is None or value is None or isinstance(value, bytes):
            return value
        return self._one(RETURN, self._result, "read", value)

    def schema(self) -> str:
        """A JSON Schema of its calls and results, as text; see `dibs.tasks.call_schema`."""
        self.settle()
        parameters = self._binding.parameters
        if parameters is None:
            return ""
        named = [p for p in parameters if p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
        rest = next((self._schemas[p.name] for p in parameters if p.kind is Parameter.VAR_POSITIONAL), False)
        more = next((self._schemas[p.name] for p in parameters if p.kind is Parameter.VAR_KEYWORD), False)
        call: Schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self._name,
            "type": "object",
            "properties": {p.name: self._schemas[p.name] for p in named},
            "required": [p.name for p in named if p.default is Parameter.empty],
            "additionalProperties": more,
            "x-dibs": {
                "positional": [p.name for p in named if p.kind in _BY_PLACE],
                "positionalOnly": [p.name for p in named if p.kind is Parameter.POSITIONAL_ONLY],
                "morePositional": rest,
                "result": self._schemas.get(RETURN, {}),
            },
        }
        if self._definitions:
            call["$defs"] = self._definitions
        return json.dumps(call, separators=(",", ":"), ensure_ascii=False)

    def settle(self) -> None:
        """Find out now what converts what, if something was not there when the task was made. Costs nothing else.

        Raises:
            TypeError: as for the class.
            DibsError: likewise.
        """
        if self._pending:
            self._resolve(last=True)

    def _convert(self, args: Sequence[Any], kwargs: Mapping[str, Any], way: str) -> tuple[list[Any], dict[str, Any]]:
        self.settle()
        places = self._places
        count = len(places)
        made = list(args)
        for at, value in enumerate(args):
            converter = places[at] if at < count else self._rest
            if converter is not None:
                made[at] = self._one(at, converter, way, value)
        by_name = dict(kwargs)
        for name, value in kwargs.items():
            converter = self._by_name.get(name, self._more)
            if converter is not None:
                by_name[name] = self._one(name, converter, way, value)
        return made, by_name

    def _one(self, place: int | str, converter: TypedConverter, way: str, value: Any) -> Any:
        from .typed import BadValue

        try:
            return converter.write(value) if way == "write" else converter.read(value)
        except BadValue as error:
            name = place if isinstance(place, str) else self._binding.name_of(place)
            raise PayloadError(f"{self._shown(name)} is not {self._annotation(name)}: {error}") from error

    def _annotation(self, name: str) -> str:
        hints, _ = annotations_of(self._function, self._binding.parameters or [])
        return _shown(hints.get(name, "what its annotation says"))


def _shown(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) and not hasattr(hint, "__args__") else str(hint)
