"""From the arguments of a call to its payload; an argument that cannot be written is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import PayloadError
from ..rpc.codec import encode_call
from ..rpc.culprits import culprit
from .binding import Binding
from .call_schema import CallSchema
from .types import TaskTypes

#: What else to do about a value that an annotation would have written.
ANNOTATE = ", or annotate the parameter with its type"


class ArgumentWriter:
    """Writes the arguments of one task's calls.

    Args:
        binding: the parameters of its function.
        types: converts what is not JSON; None: nothing is converted.
        schema: what a worker has said of a task whose code is elsewhere; None: nothing.
        name: of the task, for errors.
    """

    __slots__ = ("_binding", "_fits", "_name", "_schema", "_types")

    def __init__(self, binding: Binding, types: TaskTypes | None, schema: CallSchema | None, name: str) -> None:
        self._binding = binding
        self._fits = binding.fits
        self._types = types
        self._schema = schema
        self._name = name

    def write(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of a call with these arguments.

        Raises:
            TypeError: the function does not take them.
            PayloadError: one cannot be written, or is not what its annotation says; the text names it.
        """
        try:
            self._fits(*args, **kwargs)
        except TypeError as error:
            raise self._binding.misfit(error, kwargs) from None
        if self._types is not None:
            args, kwargs = self._types.write(args, kwargs)
        if self._schema is not None:
            self._schema.check(args, kwargs)
        try:
            return encode_call(args, kwargs)
        except PayloadError as error:
            raise self._refused(args, kwargs, error) from error

    def _refused(self, args: Sequence[Any], kwargs: Mapping[str, Any], error: PayloadError) -> PayloadError:
        for name, value in self._binding.named(args, kwargs):
            found = culprit(value)
            if found is not None:
                text = f"argument {name + found.path!r} of {self._name}: {found.reason}"
                return PayloadError(text + ANNOTATE if found.can_be_annotated else text)
        return error
