"""What goes around enqueueing and running, for many tasks at once."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from ..contract.headers import check_free
from ..contract.names import QueueName
from ..rpc.times import Seconds
from .context import CURRENT_TASK, RunningTask
from .options import OnConflict, Options

if TYPE_CHECKING:
    from .handles import AsyncEnqueuedTask, EnqueuedTask
    from .types import TaskTypes

_log = logging.getLogger("dibs")

_NOTHING: AbstractContextManager[object] = nullcontext()


class OutgoingCall:
    """A call that is about to be enqueued. Middleware may change everything but the task.

    Attributes:
        task: name of the task.
        args: its positional arguments.
        kwargs: its keyword arguments.
        headers: passed along to the running task. Their names do not begin with ``dibs-``.
        taskid: its id; None: it gets a new one.
        queue: the queue that it goes to; None: the task's, which is `default_queue`.
        default_queue: the task's.
        delay: how much later it is to start; seconds or a timedelta.
        at: when it is to start.
        attempts: deliveries of the call; None: the task's.
        on_conflict: as for `Task.options`.
    """

    __slots__ = (
        *("args", "at", "attempts", "default_queue", "delay", "headers"),
        *("kwargs", "on_conflict", "queue", "task", "taskid"),
    )

    def __init__(
        self, task: str, default_queue: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options
    ) -> None:
        self.task = task
        self.default_queue = default_queue
        self.args = list(args)
        self.kwargs = dict(kwargs)
        self.headers: dict[str, str] = dict(options.headers)
        self.taskid: str | None = options.taskid
        self.queue: QueueName | None = options.queue
        self.delay: Seconds | None = options.delay
        self.at: datetime | None = options.at
        self.attempts: int | None = options.attempts
        self.on_conflict: OnConflict = options.on_conflict

    def options(self) -> Options:
        """What it asks for, checked.

        Raises:
            ValueError: a value is out of range, or the name of a header is not for users.
        """
        check_free(self.headers)
        return Options(self.delay, self.at, self.taskid, self.queue, self.attempts, self.on_conflict, self.headers)

    def __repr__(self) -> str:
        """Name of the task and id; never the arguments."""
        return f"<OutgoingCall {self.task} {self.taskid or '(new)'}>"


class Middleware:
    """Goes around enqueueing and around running; a subclass overrides what it needs.

    `Dibs.use` puts it around all tasks of an instance, ``@task(middleware=[...])`` around one. What is used first is
    outermost, and those of the instance are outside of those of the task, on both sides.

    `enqueueing` and `running` are for what happens before and after, the same for blocking programs and asyncio, for
    plain and ``async def`` tasks. Where something is to be awaited, or what `next` returns matters, there are pairs:
    `enqueue` and `enqueue_async`, `run` and `run_async`; who overrides one of a pair overrides both.

    What is raised around enqueueing is raised by `execute`. What is raised around running is what the task raises:
    `Retry`, `Snooze` and `Reject` work from here, too.

    Example::

        class Tenant(dibs.Middleware):
            @contextmanager
            def enqueueing(self, call):
                call.headers["tenant"] = current_tenant()
                yield

            @contextmanager
            def running(self, task):
                with tenant(task.headers.get("tenant")):
                    yield

        dibs.use(Tenant())
    """

    def enqueueing(self, call: OutgoingCall) -> AbstractContextManager[object]:
        """A context around enqueueing: also what follows in the onion."""
        return _NOTHING

    def enqueue(self, call: OutgoingCall, next: EnqueueNext) -> EnqueuedTask[Any]:
        """Enqueue a call, for blocking programs: return what ``next(call)`` returns."""
        with self.enqueueing(call):
            return next(call)

    async def enqueue_async(self, call: OutgoingCall, next: EnqueueNextAsync) -> AsyncEnqueuedTask[Any]:
        """Enqueue a call, for `AsyncDibs`: return what ``await next(call)`` returns."""
        with self.enqueueing(call):
            return await next(call)

    def running(self, task: RunningTask) -> AbstractContextManager[object]:
        """A context around a run."""
        return _NOTHING

    def run(self, task: RunningTask, next: RunNext) -> Any:
        """Run a plain function: return what ``next(task)`` returns, or something else."""
        with self.running(task):
            return next(task)

    async def run_async(self, task: RunningTask, next: RunNextAsync) -> Any:
        """Run an ``async def`` task: return what ``await next(task)`` returns, or something else."""
        with self.running(task):
            return await next(task)

    def process_started(self) -> None:
        """A process is about to run tasks; it has run nothing yet. What this raises ends the process."""

    def worker_started(self) -> None:
        """The slots of a process are ready. What this raises is logged."""

    def worker_stopping(self) -> None:
        """A process takes no more tasks; what it runs may still go on. What this raises is logged."""


EnqueueNext = Callable[[OutgoingCall], "EnqueuedTask[Any]"]
EnqueueNextAsync = Callable[[OutgoingCall], "Awaitable[AsyncEnqueuedTask[Any]]"]
RunNext = Callable[[RunningTask], Any]
RunNextAsync = Callable[[RunningTask], Awaitable[Any]]

_PAIRS = (("enqueue", "enqueue_async"), ("run", "run_async"))


def checked(middleware: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """Middleware, if it is that, and does what it does on both faces.

    Raises:
        TypeError: one is none, overrides half of a pair, or has the wrong sort of method; the text says what to write.
    """
    found = tuple(middleware)
    for one in found:
        kind = type(one)
        if not isinstance(one, Middleware):
            hint = f": write {one.__name__}()" if isinstance(one, type) else ""
            raise TypeError(f"middleware is an object of a subclass of dibs.Middleware, not {one!r}{hint}")
        for plain, other in _PAIRS:
            has_plain, has_other = does(one, plain), does(one, other)
            if has_plain and inspect.iscoroutinefunction(getattr(kind, plain)):
                raise TypeError(f"{kind.__name__}.{plain} is for blocking calls: name the async one {other}")
            if has_other and not inspect.iscoroutinefunction(getattr(kind, other)):
                raise TypeError(f"{kind.__name__}.{other} must be an async def")
            if has_plain is not has_other:
                there, missing = (plain, other) if has_plain else (other, plain)
                raise TypeError(f"{kind.__name__} overrides {there} and not {missing}: it would be left out elsewhere")
    return found


class Layers:
    """The middleware of an instance.

    Attributes:
        all: the outermost first.
        calls: those of them that do anything around enqueueing.
    """

    def __init__(self) -> None:
        self.all: tuple[Middleware, ...] = ()
        self.calls: tuple[Middleware, ...] = ()

    def use(self, middleware: Iterable[Middleware]) -> None:
        """Add some inside of what is there.

        Raises:
            TypeError: as for `checked`.
        """
        self.all = (*self.all, *checked(middleware))
        self.calls = around_calls(self.all)

    def process_started(self) -> None:
        """Tell all. What one raises ends the process."""
        for layer in self.all:
            layer.process_started()

    def worker_started(self) -> None:
        """Tell all."""
        self._tell("worker_started")

    def worker_stopping(self) -> None:
        """Tell all, the innermost first."""
        self._tell("worker_stopping", reverse=True)

    def _tell(self, what: str, *, reverse: bool = False) -> None:
        for layer in reversed(self.all) if reverse else self.all:
            try:
                getattr(layer, what)()
            except Exception:  # noqa: BLE001 - the others and the work go on
                _log.exception("%s of %s failed", what, type(layer).__name__)


def does(layer: Middleware, *methods: str) -> bool:
    """Whether it overrides one of these methods."""
    return any(getattr(type(layer), name) is not getattr(Middleware, name) for name in methods)


def around_runs(layers: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """Those that do anything around runs."""
    return tuple(layer for layer in layers if does(layer, "running", "run"))


def around_calls(layers: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """Those that do anything around enqueueing."""
    return tuple(layer for layer in layers if does(layer, "enqueueing", "enqueue"))


def around_enqueue(layers: Sequence[Middleware], next: EnqueueNext) -> EnqueueNext:
    """Layers around enqueueing, the first outermost."""
    for layer in reversed(layers):
        next = _enqueue_layer(layer, next)
    return next


def around_enqueue_async(layers: Sequence[Middleware], next: EnqueueNextAsync) -> EnqueueNextAsync:
    """As `around_enqueue`."""
    for layer in reversed(layers):
        next = _enqueue_layer_async(layer, next)
    return next


def _enqueue_layer(layer: Middleware, inner: EnqueueNext) -> EnqueueNext:
    return lambda call: layer.enqueue(call, inner)


def _enqueue_layer_async(layer: Middleware, inner: EnqueueNextAsync) -> EnqueueNextAsync:
    return lambda call: layer.enqueue_async(call, inner)


def around_run(layers: Sequence[Middleware], function: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
    """A function with layers around it, the first outermost; to be called while a task runs. It gets its arguments."""
    next: RunNext = (_awaited if is_async else _called)(function)
    for layer in reversed(layers):
        next = _run_layer(layer.run_async if is_async else layer.run, next)
    outermost = next

    def call(*_: Any, **__: Any) -> Any:
        task = CURRENT_TASK.task
        assert task is not None, "a worker calls it"
        return outermost(task)

    return call


def _called(function: Callable[..., Any]) -> RunNext:
    return lambda task: function(*task.args, **task.kwargs)


def _awaited(function: Callable[..., Any]) -> RunNextAsync:
    async def run(task: RunningTask) -> Any:
        return await function(*task.args, **task.kwargs)

    return run


def _run_layer(run: Callable[[RunningTask, Any], Any], inner: RunNext) -> RunNext:
    return lambda task: run(task, inner)


class Wrappable(Protocol):
    """What a worker needs of a task."""

    @property
    def name(self) -> str:
        """The name that it is known by."""

    @property
    def function(self) -> Callable[..., Any]:
        """What to call."""

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""

    @property
    def types(self) -> TaskTypes | None:
        """Converts its arguments and what it returns."""

    def gives_up_on(self, error: BaseException) -> bool:
        """Whether a call that raised this is not tried again."""


class TaskWithin:
    """A task with middleware around it, as a worker runs it.

    Attributes:
        function: what to call.
        is_async: whether it is a coroutine function.
        name: the name that it is known by.
        gives_up_on: as of the task.
        types: likewise.
    """

    __slots__ = ("function", "gives_up_on", "is_async", "name", "types")

    def __init__(self, task: Wrappable, layers: Sequence[Middleware]) -> None:
        self.name = task.name
        self.is_async = task.is_async
        self.gives_up_on = task.gives_up_on
        self.types = task.types
        self.function = around_run(layers, task.function, is_async=task.is_async)
