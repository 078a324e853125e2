"""The annotations of a function, as types."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from inspect import Parameter
from types import SimpleNamespace
from typing import Any

#: The name of what a function returns, among its annotations.
RETURN = "return"


def annotations_of(
    function: Callable[..., Any], parameters: Iterable[Parameter]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The types that a function's annotations name.

    Args:
        function: the function.
        parameters: its parameters that are asked for; what it returns is asked for as well.

    Returns:
        Types by parameter, Any where there is no annotation; and of annotations that are no types, or name what is not
        there (any more, or yet), what is missing.
    """
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    names = _globals(function)
    for name, annotation, default in _annotated(function, parameters):
        if annotation is Parameter.empty:
            found[name] = Any
            continue
        try:
            holder = SimpleNamespace(__annotations__={name: annotation})
            hint = typing.get_type_hints(holder, globalns=names, localns={}, include_extras=True)[name]
        except NameError as error:
            missing[name] = error.name or str(annotation)
        except Exception:  # noqa: BLE001 - an annotation may be any expression
            missing[name] = str(annotation)
        else:
            found[name] = typing.Optional[hint] if default is None else hint  # noqa: UP045 - it may be any type
    return found, missing


def _annotated(function: Callable[..., Any], parameters: Iterable[Parameter]) -> Iterable[tuple[str, Any, Any]]:
    """Name, annotation and default of each; what is returned has none."""
    for parameter in parameters:
        yield parameter.name, parameter.annotation, parameter.default
    try:
        yield RETURN, inspect.signature(function).return_annotation, Parameter.empty
    except (TypeError, ValueError):  # a builtin that does not say
        yield RETURN, Parameter.empty, Parameter.empty


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    """What the annotations of a function were written among."""
    inner: Any = function
    while True:
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif hasattr(inner, "__func__"):
            inner = inner.__func__
        else:
            break
    names: dict[str, Any] = getattr(inner, "__globals__", None) or {}
    return names
