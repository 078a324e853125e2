"""Whether a function can be a task: what a worker could never call, or would not find, is refused by the decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .registry import default_name


def check_function(function: Callable[..., Any], name: str | None) -> None:
    """Refuse what no worker can run, and what has no name of its own.

    Args:
        function: what a task is to be made of.
        name: its name, if it was given one.

    Raises:
        TypeError: it is no function, or one that a worker cannot call or get a result of; the text says what to write.
        ValueError: it has no name of its own, and was given none.
    """
    if isinstance(function, classmethod) or not callable(function) or inspect.isclass(function):
        raise TypeError(f"a task is made of a function, not of {_what(function)}: write a function that uses it")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{_shown(function)} is a generator: a task returns its result, such as a list, once")
    if _is_unbound_method(function):
        raise TypeError(
            f"{_shown(function)} is a method, and a worker has no object to call it on: "
            "write a function that makes or finds the object, or a @staticmethod above the task"
        )
    if name is None and (reason := _has_no_name(function)):
        raise ValueError(f"{reason} has no name that a worker knows it by: give it one with name=")


def _is_unbound_method(function: Callable[..., Any]) -> bool:
    """Whether it stands in a class and begins with ``self`` or ``cls``."""
    inside, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    if not inspect.isfunction(function) or not inside or inside.endswith("<locals>"):
        return False
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return bool(names) and names[0] in ("self", "cls")


def _has_no_name(function: Callable[..., Any]) -> str:
    """What is the matter with the name that a function has by itself; empty: nothing."""
    qualname = getattr(function, "__qualname__", "")
    if not qualname:
        return f"a {type(function).__name__}"
    if inspect.ismethod(function):
        return f"the method {_shown(function)} of one object"
    if "<lambda>" in qualname:
        return "a lambda"
    return f"{_shown(function)}, which is made inside of another function," if "<locals>" in qualname else ""


def _what(thing: object) -> str:
    return f"the class {thing.__qualname__}" if isinstance(thing, type) else f"a {type(thing).__name__}"


def _shown(function: Callable[..., Any]) -> str:
    return default_name(function)
