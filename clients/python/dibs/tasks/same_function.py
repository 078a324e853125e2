"""Whether a function that takes a name is the one that had it: a module that is loaded anew makes each of its anew.

A name does not tell: a decorator without `functools.wraps`, a factory, or a lambda gives the same one to functions that
do different things.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

_NOTHING = object()
_PLAIN = (str, bytes, int, float, bool, type(None))


def loading_of(function: Callable[..., Any]) -> object:
    """What stands for the run of a function's module that is going on or was the last; None: nobody knows.

    A reload makes another one. A script, and what is typed into an interpreter, have none.
    """
    return getattr(sys.modules.get(getattr(function, "__module__", None) or ""), "__spec__", None)


def is_same(known: Callable[..., Any], loading: object, new: Callable[..., Any], name: str) -> bool:
    """Whether `new` is `known`, or has come in its place because its module was loaded anew.

    Args:
        known: a function.
        loading: of its module when it became known.
        new: a function of the same module and qualified name.
        name: the qualified name of both.
    """
    if known is new or loading is not loading_of(new):
        return True
    # What is typed again takes its old place; inside of functions, and of lambdas, many have one name.
    if loading is None and "<" not in name:
        return True
    return _does_the_same(known, new)


def _does_the_same(one: object, other: object) -> bool:
    """Whether two are the same code on the same values, as far as that can be told."""
    code = getattr(one, "__code__", None)
    if code is None or code != getattr(other, "__code__", None):
        return False
    return all(_is_equal(mine, its) for mine, its in zip_longest(_values(one), _values(other), fillvalue=_NOTHING))


def _is_equal(one: object, other: object) -> bool:
    """Whether two values that functions hold on to are the same."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, _PLAIN):
        return one == other
    if hasattr(one, "__code__") and _is_named(one) and _is_named(other):
        # What a wrapper wraps may have been edited between two loadings of its module.
        return (_module(one), _qualname(one)) == (_module(other), _qualname(other))
    return _does_the_same(one, other)


def _values(function: object) -> list[object]:
    """What a function holds on to: its object, its closure and its defaults."""
    values: list[object] = [getattr(function, "__self__", None)]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            values.append(_NOTHING)
    values += getattr(function, "__defaults__", None) or ()
    values += (getattr(function, "__kwdefaults__", None) or {}).values()
    return values


def _is_named(function: object) -> bool:
    """Whether a function's name is its own: it is neither a lambda nor made inside of another function."""
    return "<" not in _qualname(function)


def _qualname(function: object) -> str:
    return str(getattr(function, "__qualname__", ""))


def _module(function: object) -> str:
    return str(getattr(function, "__module__", ""))
