"""Traces by OpenTelemetry: a span where a call is enqueued, and one for each of its runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..tasks.context import RunningTask
from ..tasks.dispositions import Disposition
from ..tasks.middleware import Middleware, OutgoingCall
from .missing import needs

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_SYSTEM = "dibs"


class OpenTelemetry(Middleware):
    """Makes spans by OpenTelemetry's conventions for messaging, and carries the trace along in headers (traceparent).

    `execute` makes a span of the kind PRODUCER, ``create <queue>``; each run one of the kind CONSUMER, ``process
    <queue>``. The first run is its child. Further attempts begin traces of their own, so that a call that is tried for
    days is no trace of days; a link leads to the producer's span. What a run raises is recorded in its span.

    The provider, its exporters and what is sampled are yours.

    Args:
        tracer_provider: makes the spans. Default: the global one.

    Raises:
        DibsError: opentelemetry-api is not installed.

    Example::

        dibs.use(OpenTelemetry())
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import context, propagate, trace
        except ModuleNotFoundError as error:
            raise needs("OpenTelemetry", "dibs[opentelemetry]", error) from error
        self._trace, self._propagate, self._no_context = trace, propagate, context.Context()
        self._tracer = trace.get_tracer("dibs", tracer_provider=tracer_provider)

    @contextmanager
    def enqueueing(self, call: OutgoingCall) -> Iterator[None]:
        """A span around enqueueing, whose trace goes along."""
        queue = str(call.queue or call.default_queue)
        attributes = self._attributes("create", "create", call.task, queue)
        with self._tracer.start_as_current_span(
            f"create {queue}", kind=self._trace.SpanKind.PRODUCER, attributes=attributes
        ):
            self._propagate.inject(call.headers)
            yield

    @contextmanager
    def running(self, task: RunningTask) -> Iterator[None]:
        """A span around a run."""
        trace = self._trace
        parent = self._propagate.extract(task.headers)
        producer = trace.get_current_span(parent).get_span_context()
        again = task.attempt > 1
        attributes: dict[str, str | int] = {
            **self._attributes("process", "process", task.name, task.queue),
            "messaging.message.id": task.taskid,
            "dibs.attempt": task.attempt,
        }
        with self._tracer.start_as_current_span(
            f"process {task.queue}",
            context=self._no_context if again else parent,
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=[trace.Link(producer)] if again and producer.is_valid else None,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Disposition as said:
                # Said on purpose: no error, but why the run ended.
                span.set_attribute("dibs.outcome", type(said).__name__.lower())
                raise
            except BaseException as error:
                span.record_exception(error)
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(trace.StatusCode.ERROR, str(error))
                raise

    def _attributes(self, name: str, kind: str, task: str, queue: str) -> dict[str, str]:
        return {
            "messaging.system": _SYSTEM,
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            "messaging.destination.name": queue,
            "dibs.task": task,
        }
