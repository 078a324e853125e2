"""Whether a call fits a function's parameters, found out where the call is made.

A function of the same parameters that does nothing is called with the arguments: nothing is faster, and the words are
Python's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import Parameter
from types import FunctionType
from typing import Any

from . import hints

#: What a worker passes to functions that name it: how many attempts are left with this one.
ATTEMPTS = "_attempts"

_BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def parameters_of(function: Callable[..., Any]) -> list[Parameter] | None:
    """The parameters of a function; None for one that does not say, as some of C do not."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


class Binding:
    """The parameters of a task's function, apart from `_attempts`, which a worker passes.

    Args:
        function: the function.
        name: of the task, for errors.

    Raises:
        TypeError: `_attempts` can be passed by its place only.

    Attributes:
        parameters: in order; None: not known, and every call fits.
        keywords: names of those that can be passed by name.
        names_attempts: whether `_attempts` is among the function's own.
        takes_any_keyword: whether the function has ``**kwargs``.
        fits: to be called with the arguments of a call; raises TypeError if they do not fit.
    """

    __slots__ = ("_function", "fits", "keywords", "names_attempts", "parameters", "takes_any_keyword")

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        there = parameters_of(function)
        passed = _passed(there or [], name)
        self.names_attempts = any(parameter.name == ATTEMPTS for parameter in there or ())
        self.parameters = None if there is None else passed
        self.keywords = frozenset(parameter.name for parameter in passed if parameter.kind in _BY_KEYWORD)
        self.takes_any_keyword = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in passed)
        self.fits = _fits_anything if there is None else _stub(passed, name)

    def misfit(self, error: TypeError, kwargs: Mapping[str, Any]) -> TypeError:
        """The error to raise for a call that does not fit: what is wrong, and what to write."""
        unknown = () if self.takes_any_keyword else [name for name in kwargs if name not in self.keywords]
        hint = hints.for_keywords(unknown, self.keywords - kwargs.keys())
        if hasattr(self._function, "__wrapped__"):
            hint += "; if a decorator below the task supplies arguments, have it set __signature__ to what callers pass"
        return TypeError(f"{error}{hint}")

    def check_runs_without_arguments(self) -> None:
        """Refuse a function that needs some.

        Raises:
            TypeError: it does; the text names the first.
        """
        variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        for parameter in self.parameters or ():
            if parameter.default is parameter.empty and parameter.kind not in variadic:
                raise TypeError(
                    f"a recurring task is called without arguments, but {self._function!r} needs {parameter.name!r}"
                )

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """The arguments of a call, each with the name of its parameter; see `name_of`."""
        for at, value in enumerate(args):
            yield self.name_of(at), value
        yield from kwargs.items()

    def name_of(self, place: int) -> str:
        """The name of the parameter that an argument at a place goes to; of ``*args`` with its place in it, too."""
        places = [parameter for parameter in self.parameters or () if parameter.kind in _BY_PLACE]
        if place < len(places):
            return places[place].name
        rest = next((p.name for p in self.parameters or () if p.kind is Parameter.VAR_POSITIONAL), "args")
        return f"{rest}[{place - len(places)}]"


def _fits_anything(*args: Any, **kwargs: Any) -> None:
    """For a function that does not say what it takes."""


def _passed(parameters: list[Parameter], name: str) -> list[Parameter]:
    """What callers pass: all but `_attempts`. What stands behind that cannot be passed by its place."""
    passed: list[Parameter] = []
    behind = False
    for parameter in parameters:
        if parameter.name == ATTEMPTS:
            if parameter.kind is Parameter.POSITIONAL_ONLY:
                raise TypeError(f"{name}: a worker passes {ATTEMPTS} by name: put it behind the /")
            behind = parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
        elif not behind or parameter.kind not in (*_BY_PLACE, Parameter.VAR_POSITIONAL):
            passed.append(parameter)
        elif parameter.kind is not Parameter.VAR_POSITIONAL:
            passed.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
    return passed


def _stub(parameters: list[Parameter], name: str) -> Callable[..., None]:
    """A function of these parameters that does nothing."""
    places = [parameter for parameter in parameters if parameter.kind in _BY_PLACE]
    keywords = [parameter for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY]
    any_place = [parameter for parameter in parameters if parameter.kind is Parameter.VAR_POSITIONAL]
    any_keyword = [parameter for parameter in parameters if parameter.kind is Parameter.VAR_KEYWORD]
    names = tuple(parameter.name for parameter in (*places, *keywords, *any_place, *any_keyword))
    flags = _nothing.__code__.co_flags & ~(inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    code = _nothing.__code__.replace(
        co_argcount=len(places),
        co_posonlyargcount=sum(parameter.kind is Parameter.POSITIONAL_ONLY for parameter in places),
        co_kwonlyargcount=len(keywords),
        co_nlocals=len(names),
        co_varnames=names,
        co_flags=flags | inspect.CO_VARARGS * bool(any_place) | inspect.CO_VARKEYWORDS * bool(any_keyword),
        co_name=name,
        co_qualname=name,
    )
    stub = FunctionType(code, {}, name, (None,) * sum(parameter.default is not parameter.empty for parameter in places))
    stub.__kwdefaults__ = {p.name: None for p in keywords if p.default is not p.empty}
    return stub


def _nothing() -> None:
    """The code of stubs."""
