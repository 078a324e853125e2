"""Errors of tasks, told to Sentry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..tasks.context import RunningTask
from ..tasks.dispositions import Disposition
from ..tasks.middleware import Middleware, OutgoingCall
from .missing import needs

#: Headers by which Sentry joins the traces of several programs.
_TRACE_HEADERS = ("sentry-trace", "baggage")


class Sentry(Middleware):
    """Tells Sentry of what tasks raise: each run in a scope of its own, with name, id, queue and attempt.

    ``sentry_sdk.init`` is yours. Each run is a transaction ``queue.process`` of the trace in which the call was
    enqueued. An error that is to be tried again is told with the level ``warning``, the one after the last attempt with
    ``error``; `Retry`, `Snooze` and `Reject`, which tasks raise on purpose, are not told.

    Args:
        arguments: send arguments of calls along, which may be private. Default: they are not sent.
        retried: tell also of errors after which the call is tried again. Default: yes.

    Raises:
        DibsError: sentry-sdk is not installed.

    Example::

        sentry_sdk.init(dsn=...)
        dibs.use(Sentry())
    """

    def __init__(self, *, arguments: bool = False, retried: bool = True) -> None:
        try:
            import sentry_sdk
        except ModuleNotFoundError as error:
            raise needs("Sentry", "dibs[sentry]", error) from error
        self._sdk = sentry_sdk
        self._arguments = arguments
        self._retried = retried

    @contextmanager
    def enqueueing(self, call: OutgoingCall) -> Iterator[None]:
        """Send the trace along."""
        with self._sdk.start_span(op="queue.publish", name=call.task):
            trace = (self._sdk.get_traceparent(), self._sdk.get_baggage())
            call.headers.update({name: value for name, value in zip(_TRACE_HEADERS, trace, strict=True) if value})
            yield

    @contextmanager
    def running(self, task: RunningTask) -> Iterator[None]:
        """A scope and a transaction around a run."""
        sdk = self._sdk
        with sdk.isolation_scope() as scope:
            scope.set_tag("dibs.task", task.name)
            scope.set_tag("dibs.queue", task.queue)
            scope.set_context("dibs", self._described(task))
            transaction = sdk.continue_trace(dict(task.headers), op="queue.process", name=task.name, source="task")
            with sdk.start_transaction(transaction) as span:
                try:
                    yield
                except Disposition:
                    raise
                except Exception as error:
                    span.set_status("internal_error")
                    self._tell(task, error)
                    raise
                span.set_status("ok")

    def _described(self, task: RunningTask) -> dict[str, Any]:
        told = {"id": task.taskid, "attempt": task.attempt, "attempts": task.attempts}
        return {**told, "args": task.args, "kwargs": task.kwargs} if self._arguments else told

    def _tell(self, task: RunningTask, error: Exception) -> None:
        last = task.attempt >= task.attempts or task.retried
        if last or self._retried:
            self._sdk.capture_exception(error, level="error" if last else "warning")
