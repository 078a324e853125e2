"""Context variables that go from who enqueues a call to the task that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from ..errors import PayloadError
from ..rpc.codec import decode_json, encode_json
from ..tasks.context import RunningTask
from ..tasks.middleware import Middleware, OutgoingCall

#: What the names of headers begin with.
_PREFIX = "var-"


class ContextVariables(Middleware):
    """Carries context variables along: what they are where `execute` is called, they are where the task runs.

    So they are in what the task enqueues, too. A variable that has no value is not carried; in the task it has its
    default. Values go through JSON, as headers: with all others of a call they have 8 KiB.

    Args:
        variables: which; their names are distinct.

    Raises:
        TypeError: one is no ContextVar.
        ValueError: there is none, or two have one name.

    Example::

        request_id: ContextVar[str] = ContextVar("request_id")
        dibs.use(ContextVariables(request_id))
    """

    def __init__(self, *variables: ContextVar[Any]) -> None:
        for variable in variables:
            if not isinstance(variable, ContextVar):
                raise TypeError(f"a ContextVar is wanted, not {variable!r}")
        self._variables = {f"{_PREFIX}{variable.name}": variable for variable in variables}
        if len(self._variables) != len(variables) or not variables:
            raise ValueError("name one variable or more, each once; their names must differ")

    @contextmanager
    def enqueueing(self, call: OutgoingCall) -> Iterator[None]:
        """Write the values.

        Raises:
            PayloadError: one is no JSON; the text names the variable.
        """
        for header, variable in self._variables.items():
            try:
                value = variable.get()
            except LookupError:
                continue
            try:
                call.headers[header] = encode_json(value).decode()
            except PayloadError as error:
                raise PayloadError(f"context variable {variable.name} {error}") from error
        yield

    @contextmanager
    def running(self, task: RunningTask) -> Iterator[None]:
        """Set the values, and take them back afterwards."""
        with ExitStack() as stack:
            for header, variable in self._variables.items():
                text = task.headers.get(header)
                if text is not None:
                    stack.callback(variable.reset, variable.set(decode_json(text.encode())))
            yield
