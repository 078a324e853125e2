"""From the arguments of a call to its payload; an argument that cannot be written is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import PayloadError
from ..rpc.codec import encode_call
from ..rpc.culprits import culprit
from .binding import Binding


class ArgumentWriter:
    """Writes the arguments of one task's calls.

    Args:
        binding: the parameters of its function.
        name: of the task, for errors.
    """

    __slots__ = ("_binding", "_fits", "_name")

    def __init__(self, binding: Binding, name: str) -> None:
        self._binding = binding
        self._fits = binding.fits
        self._name = name

    def write(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of a call with these arguments.

        Raises:
            TypeError: the function does not take them.
            PayloadError: one cannot be written; the text names it.
        """
        try:
            self._fits(*args, **kwargs)
        except TypeError as error:
            raise self._binding.misfit(error, kwargs) from None
        try:
            return encode_call(args, kwargs)
        except PayloadError as error:
            raise self._refused(args, kwargs, error) from error

    def _refused(self, args: Sequence[Any], kwargs: Mapping[str, Any], error: PayloadError) -> PayloadError:
        for name, value in self._binding.named(args, kwargs):
            found = culprit(value)
            if found is not None:
                return PayloadError(f"argument {name + found.path!r} of {self._name}: {found.reason}")
        return error
