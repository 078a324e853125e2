"""What a task is, apart from who calls it and how."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..contract.headers import ATTEMPTS_BEFORE, LAST_ERROR
from ..contract.names import DEFAULT_QUEUE, QueueName, possible_queue_name, queue_name
from ..enqueueing.policy import Policy
from ..rpc.encoding import ItemForm, task_form
from ..v1 import broker_pb2 as pb
from ..v1 import types_pb2 as tpb
from .arguments import ArgumentWriter
from .binding import ATTEMPTS, Binding
from .call_schema import CallSchema
from .context import CURRENT_TASK, RunningTask
from .dispositions import NO_RULES, ErrorRules
from .middleware import Middleware, around_calls, checked
from .options import NO_OPTIONS, OVERRIDES, Options
from .registry import default_name
from .schedules import Schedule
from .types import TaskTypes

_log = logging.getLogger("dibs")

#: Bytes of the error text that goes along with a retry; all headers together may have 8 KiB.
_MAX_ERROR_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that is ready to be enqueued.

    Attributes:
        form: what it shares with others.
        payload: its arguments.
        taskid: its id; empty: it gets a new one.
        replaces: the running call whose next attempt it is; None when it is none.
    """

    form: ItemForm
    payload: bytes
    taskid: str
    replaces: RunningTask | None = None

    def enqueued(self) -> None:
        """To be called when the broker has taken it: the running call that it replaces reports nothing of itself."""
        if self.replaces is not None:
            self.replaces.retried = True

    def refused(self, found: pb.ItemResult) -> None:
        """To be called when it could not take the place of the running call, which then ends as if it had not tried.

        Args:
            found: how things stand with that.
        """
        running = self.replaces
        assert running is not None
        if found.cancel_requested:
            running.cancelled = True
        reason = "it has been cancelled" if running.cancelled else "its lease is not held any more"
        _log.warning("%s %s is not tried again: %s", running.name, running.taskid, reason)


class Definition:
    """A function, its name, its queue and how its calls are delivered.

    Args:
        function: what to run.
        queue: queue of its calls.
        name: its name; by default module and qualified name of the function.
        policy: how its calls are delivered.
        schedule: when it runs by itself; None for a task that does not.
        rules: after which exceptions there is another attempt.
        aliases: further names that a worker knows it by, such as the one before it was renamed.
        schema: what a worker has said of its arguments, if the function stands for code that is elsewhere.

    Raises:
        TypeError: `function` has a schedule and needs arguments, a parameter that nobody can pass, or an annotation of
            which no JSON can be made; or `aliases` is text.
        DibsError: an annotation needs msgspec, which is not installed.
        ValueError: the name of its queue is none.

    Attributes:
        function: what a worker calls with the arguments from the wire: it passes `_attempts` to functions that name it,
            and by way of ``**kwargs`` to tasks of more than one attempt.
        write: from positional and keyword arguments to the payload of a call; raises TypeError if they do not fit the
            function, and PayloadError if they cannot be written.
        annotated: what the annotations of the function say, for whom its worker tells of them.
        types: converts arguments and results; None where there is nothing to convert.
        target: the function itself.
        is_async: whether it is a coroutine function.
        form: what its calls have in common.
        middleware: around this task alone.
        around_calls: those of them that do anything around enqueueing.
        overrides: keywords of a call that are options of the call rather than arguments of the function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        queue: QueueName | None = None,
        name: str | None = None,
        policy: Policy | None = None,
        schedule: Schedule | None = None,
        rules: ErrorRules = NO_RULES,
        aliases: Sequence[str] = (),
        middleware: Iterable[Middleware] = (),
        schema: str = "",
    ) -> None:
        self.target = function
        self.name = name if name is not None else default_name(function)
        if isinstance(aliases, str):
            raise TypeError(f"aliases must be a list of names, not the text {aliases!r}")
        self.aliases = tuple(aliases)
        self.queue = possible_queue_name(queue) if queue else DEFAULT_QUEUE
        self.policy = policy or Policy()
        self.schedule = schedule
        self.rules = rules
        self.middleware = checked(middleware)
        self.around_calls = around_calls(self.middleware)
        self.is_async = inspect.iscoroutinefunction(function)
        binding = Binding(function, self.name)
        known = CallSchema.parse(schema, self.name)
        self.overrides = OVERRIDES - (binding.keywords if known is None else known.names)
        takes_attempts = binding.names_attempts or (binding.takes_any_keyword and self.policy.attempts > 1)
        self.function = _with_attempts(function) if takes_attempts else function
        if schedule is not None:
            binding.check_runs_without_arguments()
        self.annotated = TaskTypes(function, binding, self.name, keeps_results=self.policy.save_results > 0)
        self.types = self.annotated if self.annotated.any else None
        self.write = ArgumentWriter(binding, self.types, known, self.name).write
        self.form = task_form(self.queue, self.name, self.policy.encoded)

    def prepare(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options) -> Prepared:
        """A call with options."""
        return self._prepare(args, kwargs, options, options.attempts or self.policy.attempts)

    def prepare_retry(self, args: Sequence[Any], kwargs: dict[str, Any], options: Options) -> Prepared | None:
        """The call that is the next attempt after the one that runs here; None when that is the last.

        Outside of a worker the call that asks is the first attempt.
        """
        given = kwargs.pop(ATTEMPTS, None)
        running = self.running()
        used = running.attempt if running is not None else 1
        total = running.attempts if running is not None else options.attempts or self.policy.attempts
        left = total - used if given is None else int(given) - 1
        if left < 1:
            return None
        changes: dict[str, Any] = {"on_conflict": "replace", "attempts": left}
        if running is not None and options.time_limit is None:
            changes["time_limit"] = running.time_limit
        if options.delay is None and options.at is None:
            changes["delay"] = self.policy.retry_wait(used)
        headers = {**options.headers, ATTEMPTS_BEFORE: str(used)}
        replaces = None
        if running is not None:
            headers = {**running.headers, **headers}
            changes["taskid"] = options.taskid or running.taskid
            changes["queue"] = options.queue or running.queue
            replaces = running if changes["taskid"] == running.taskid else None
        error = _error_text() or (running.last_error if running is not None else "")
        if error:
            headers[LAST_ERROR] = error
        merged = {
            name: getattr(options, name) for name in ("delay", "at", "taskid", "queue", "time_limit", "expires")
        } | changes
        return self._prepare(args, kwargs, Options(**merged, headers=headers), left, used, replaces)

    def running(self) -> RunningTask | None:
        """The call of this task that runs here; None outside of a worker and in another task."""
        running = CURRENT_TASK.task
        return running if running is not None and running.name == self.name else None

    def next(self, now: datetime | float | None = None) -> datetime | None:
        """When it is due next; None for a task without a schedule."""
        if self.schedule is None:
            return None
        if now is None:
            now = datetime.now(UTC)
        elif not isinstance(now, datetime):
            now = datetime.fromtimestamp(now, UTC)
        elif now.tzinfo is None:
            now = now.astimezone()
        return self.schedule.next(now)

    def _prepare(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Options,
        attempts: int,
        used: int = 0,
        replaces: RunningTask | None = None,
    ) -> Prepared:
        queue = queue_name(options.queue) if options.queue else self.queue
        plain = attempts == self.policy.attempts and not used
        item = pb.EnqueueItem(queue=queue, kind=tpb.QUEUE_KIND_TASK, content=tpb.Content(task_name=self.name))
        item.policy.MergeFromString(self.policy.encoded if plain else self.policy.encode(attempts, used))
        options.apply(item)
        if replaces is not None:
            item.lease_token = replaces.lease_token
        return Prepared(ItemForm(item), self.write(args, kwargs), options.taskid or "", replaces)


def split_options(
    kwargs: dict[str, Any], overrides: frozenset[str], preset: Options = NO_OPTIONS
) -> tuple[dict[str, Any], Options]:
    """Tell the options of a call from the arguments of the function among its keywords."""
    options = {name: value for name, value in kwargs.items() if name in overrides}
    arguments = {name: value for name, value in kwargs.items() if name not in overrides}
    return arguments, preset.overridden(options)


def _with_attempts(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        running = CURRENT_TASK.task
        if running is not None and ATTEMPTS not in kwargs:
            kwargs[ATTEMPTS] = running.attempts - running.attempt + 1
        return function(*args, **kwargs)

    return call


def _error_text() -> str:
    """The error that is being handled here, as text; empty when there is none."""
    if sys.exc_info()[1] is None:
        return ""
    encoded = traceback.format_exc().encode("utf-8", "backslashreplace")
    return encoded[-_MAX_ERROR_BYTES:].decode("utf-8", "ignore")
