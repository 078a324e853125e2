"""The place of the default instance, for what belongs to it unless told otherwise."""

from __future__ import annotations

from ..errors import DibsError
from .runner import Runner

_instance: Runner | None = None


def fill(instance: Runner) -> None:
    """Say which instance is the default one."""
    global _instance
    _instance = instance


def default_runner() -> Runner:
    """The default instance.

    Raises:
        DibsError: the name that needs it was not taken from `dibs` itself.
    """
    if _instance is None:
        raise DibsError("there is no default instance yet: take the name from dibs, as in `from dibs import Data`")
    return _instance
