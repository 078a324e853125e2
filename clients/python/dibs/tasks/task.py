"""Tasks: functions that can be called here, or enqueued to run in a worker."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from ..contract.headers import check_free
from ..contract.names import QueueName
from ..errors import AlreadyExists
from ..rpc.runner import AsyncRunner, Runner
from ..rpc.times import Seconds
from . import hints
from .definition import Definition, Prepared, split_options
from .handles import AsyncEnqueuedTask, EnqueuedTask
from .middleware import Middleware, OutgoingCall, around_enqueue, around_enqueue_async
from .options import INLINE, NO_OPTIONS, OnConflict, Options
from .registry import Registry
from .result_flows import look_up
from .transactions import TRANSACTIONS

if TYPE_CHECKING:
    from typing import Self

    from ..enqueueing.policy import Backoff
    from ..rpc.encoding import ItemForm
    from .schedules import Schedule

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("dibs")


class Binds(Runner):
    """An instance that tasks are made and enqueued by; what `Dibs` is to its tasks.

    Attributes:
        registry: its tasks, by name.
    """

    registry: Registry[BaseTask[..., Any]]
    #: The options of calls around which nothing is to be done; None: every call is to be looked at, for there is
    #: middleware, or nobody knows.
    plain: Options | None = None

    @abstractmethod
    def bind(self, definition: Definition, options: Options = NO_OPTIONS) -> Task[..., Any]:
        """A task of that definition that is enqueued through this instance; see `Task.on`."""


class AsyncBinds(AsyncRunner):
    """As `Binds`, for asyncio; what `AsyncDibs` is to its tasks."""

    @property
    @abstractmethod
    def registry(self) -> Registry[BaseTask[..., Any]]:
        """Its tasks, by name."""

    @abstractmethod
    def bind(self, definition: Definition, options: Options = NO_OPTIONS) -> AsyncTask[..., Any]:
        """A task of that definition that is enqueued through this instance; see `Task.on`."""


class BaseTask(Generic[P, R]):
    """What the tasks of both faces have in common: everything but the calls to the broker.

    Attributes:
        definition: the function and how it is delivered.
    """

    def __init__(self, definition: Definition, options: Options = NO_OPTIONS) -> None:
        self.definition = definition
        #: Converts its arguments and what it returns; None where there is nothing to convert.
        self.types = definition.types
        # Calls with middleware of their own are never the plain ones.
        self._options = Options() if definition.around_calls and options is NO_OPTIONS else options
        self.__doc__ = definition.target.__doc__
        self.__module__ = getattr(definition.target, "__module__", __name__)
        self.__wrapped__ = definition.target

    @property
    def name(self) -> str:
        """The name that it is known by."""
        return self.definition.name

    @property
    def aliases(self) -> Sequence[str]:
        """Further names that workers know it by."""
        return self.definition.aliases

    @property
    def function(self) -> Callable[..., Any]:
        """What a worker calls."""
        return self.definition.function

    @property
    def target(self) -> Callable[..., Any]:
        """The function that it is made of."""
        return self.definition.target

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return self.definition.is_async

    @property
    def middleware(self) -> Sequence[Middleware]:
        """Around this task alone, inside of the instance's."""
        return self.definition.middleware

    @property
    def queue(self) -> str:
        """The queue that its calls go to."""
        return self.definition.queue

    @property
    def attempts(self) -> int:
        """How often a call is delivered at most."""
        return self.definition.policy.attempts

    @property
    def retry_delay(self) -> float | None:
        """Seconds from a failed attempt to the next; None when it was not set."""
        return self.definition.policy.retry_delay

    @property
    def backoff(self) -> Backoff | None:
        """Growing waits between attempts; None when not set."""
        return self.definition.policy.backoff

    @property
    def max_crashes(self) -> int:
        """How many times a call may kill the process that runs it; then it is dead, whatever attempts are left."""
        return self.definition.policy.max_crashes

    @property
    def save_results(self) -> float:
        """Seconds that results are kept; 0: they are not."""
        return self.definition.policy.save_results

    @property
    def vis_timeout(self) -> float:
        """Seconds that one delivery may take before the next; 0: there is only one."""
        return self.definition.policy.vis_timeout

    @property
    def lease(self) -> float:
        """Seconds after which it is noticed that whoever ran a call is dead; 0: see `vis_timeout`."""
        return self.definition.policy.lease

    @property
    def time_limit(self) -> float | None:
        """Seconds that one run may take; None: as long as it likes."""
        return self.definition.policy.time_limit

    @property
    def expires(self) -> float | None:
        """Seconds that a call may wait after it was due; None: for ever."""
        return self.definition.policy.expires

    @property
    def use_dead(self) -> bool | str:
        """Whether used-up calls go to the dead-letter queue, or the name of another."""
        return self.definition.policy.use_dead

    def gives_up_on(self, error: BaseException) -> bool:
        """Whether a call that raised this is not tried again, whatever attempts are left."""
        return self.definition.rules.give_up(error)

    @property
    def schedule(self) -> Schedule | None:
        """When it runs by itself; None when it does not."""
        return self.definition.schedule

    def next(self, now: datetime | float | None = None) -> datetime | None:
        """When a recurring task is due next.

        Args:
            now: reckoned from then: a datetime (local time if it has no time zone), or seconds since 1970. Default:
                the present.

        Returns:
            An aware datetime; None for a task that does not recur.
        """
        return self.definition.next(now)

    def options(
        self,
        *,
        delay: Seconds | None = None,
        at: datetime | None = None,
        taskid: str | None = None,
        queue: QueueName | None = None,
        attempts: int | None = None,
        on_conflict: OnConflict = "replace_unless_running",
        headers: Mapping[str, str] | None = None,
        time_limit: Seconds | None = None,
        expires: Seconds | None = None,
    ) -> Self:
        """This task, to be called with options; the typed form of the keywords of `execute`.

        Args:
            delay: enqueue it to start that much later; seconds or a timedelta.
            at: enqueue it to start at that time; an aware datetime.
            taskid: id of the call, instead of a new one.
            queue: queue of the call, instead of the task's.
            attempts: deliveries of the call, instead of the task's.
            on_conflict: what to do when a task of that `taskid` is known already. By default,
                ``"replace_unless_running"``, the call takes the place of one that waits, or is done or dead; if a
                worker has it, AlreadyExists is raised. ``"keep"`` leaves it, ``"replace"`` takes its place though it
                may be running, ``"fail"`` raises AlreadyExists. The handle's `created` says what happened.
            headers: passed along to the running task, such as a trace context. Their names do not begin with ``dibs-``.
            time_limit: how long a run of the call may take, instead of the task's.
            expires: how long the call may wait after it was due, instead of the task's.

        Raises:
            ValueError: a value is out of range, or the name of a header is not for users.

        Example::

            send.options(delay=60, queue="low").execute("hello")
        """
        check_free(headers or ())
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        clone._options = Options(delay, at, taskid, queue, attempts, on_conflict, headers or {}, time_limit, expires)
        return clone

    if not TYPE_CHECKING:  # who checks types finds a name that is not there

        def __getattr__(self, name: str) -> Any:
            """Say what a method of another task queue is called here."""
            if name in hints.METHODS:
                raise AttributeError(f"tasks are enqueued with {hints.METHODS[name]}; there is no {name!r}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> str:
        """As its function, it is pickled as the name under which its module has it."""
        return str(self.definition.target.__qualname__)

    def __repr__(self) -> str:
        """Name and queue."""
        return f"<{type(self).__name__} {self.name} in {self.queue}>"


class Task(BaseTask[P, R]):
    """A function that can be called here, ``task(...)``, or enqueued for a worker, ``task.execute(...)``.

    Made by the decorators `task`, `periodic_task` and `cron_task`.

    Example::

        @task(queue="mail", lease=30)
        def send(address: str, text: str) -> None: ...

        send("a@example.org", "hi")                  # runs here
        send.execute("a@example.org", "hi")          # runs in a worker
        send.execute("a@example.org", "hi", delay=5)
    """

    def __init__(self, definition: Definition, dibs: Binds, options: Options = NO_OPTIONS) -> None:
        super().__init__(definition, options)
        self._dibs = dibs

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return cast(R, self.definition.target(*args, **kwargs))

    @overload
    def execute(self, *args: P.args, **kwargs: P.kwargs) -> EnqueuedTask[R]: ...
    @overload
    def execute(self, *args: Any, execute_inline_now: bool, **kwargs: Any) -> Any: ...
    @overload
    def execute(self, *args: Any, delay: Seconds, **kwargs: Any) -> EnqueuedTask[R]: ...
    @overload
    def execute(self, *args: Any, taskid: str, **kwargs: Any) -> EnqueuedTask[R]: ...
    @overload
    def execute(self, *args: Any, _queue: QueueName, **kwargs: Any) -> EnqueuedTask[R]: ...

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a call of the function, for a worker to run (elsewhere: delay, send, enqueue).

        The keywords `delay` (seconds or a timedelta), `taskid`, `_queue` (the queue of this call) and
        `execute_inline_now` (eager: run it here) are options of the call, unless the function itself has a parameter of
        that name. Type checkers check the function's arguments only in calls without them; `options` is the form that
        is checked throughout, and it knows more options.

        Args:
            args: positional arguments; anything that JSON can express.
            kwargs: keyword arguments; likewise.

        Returns:
            A handle. With `execute_inline_now=True`, what the function returns, run here and now.

        Raises:
            TypeError: the function does not take these arguments.
            PayloadError: an argument cannot be written as JSON; the text names it.
            AlreadyExists: a worker has a task of that `taskid`, which may be running. One that waits, is done or is
                dead is replaced; `options` has other ways.
            BrokerError: the broker did not take it.

        Example::

            add.execute(1, 2)
            add.execute(1, 2, delay=60)
            add.options(delay=60).execute(1, 2)
        """
        definition = self.definition
        options = self._options
        if kwargs and not definition.overrides.isdisjoint(kwargs):
            if INLINE in definition.overrides and kwargs.get(INLINE):
                return self.definition.target(*args, **split_options(kwargs, definition.overrides)[0])
            kwargs, options = split_options(kwargs, definition.overrides, options)
        dibs = self._dibs
        if options is dibs.plain:
            placed = dibs.put(definition.form, definition.write(args, kwargs))
            return EnqueuedTask(dibs, placed.id, definition.name, definition.queue, placed, self.types)
        layers = (*dibs.registry.layers.calls, *definition.around_calls)
        if layers:
            return around_enqueue(layers, self._enqueue)(
                OutgoingCall(definition.name, definition.queue, args, kwargs, options)
            )
        return self._put(definition.prepare(args, kwargs, options))

    def _enqueue(self, call: OutgoingCall) -> EnqueuedTask[Any]:
        """What is inside of all middleware."""
        return self._put(self.definition.prepare(call.args, call.kwargs, call.options()))

    def _put(self, call: Prepared) -> EnqueuedTask[Any]:
        dibs = self._dibs
        placed = dibs.put(call.form, call.payload, call.taskid)
        return EnqueuedTask(dibs, placed.id, self.definition.name, call.form.queue, placed, self.types)

    def on_commit(self, *args: P.args, **kwargs: P.kwargs) -> EnqueuedTask[R]:
        """Enqueue a call behind the commit of the transaction that is open here, or at once if there is none.

        Nothing is enqueued if it is rolled back, or if the process dies between commit and enqueueing; an outbox
        outlasts that. Needs ``dibs.contrib.django`` in INSTALLED_APPS.

        Args:
            args: as of `execute`.
            kwargs: likewise.

        Returns:
            A handle; until the commit the task is not known.

        Raises:
            RuntimeError: nobody here knows of transactions.
        """
        behind_commit = TRANSACTIONS.behind_commit
        if behind_commit is None:
            raise RuntimeError("on_commit needs 'dibs.contrib.django' in INSTALLED_APPS, and a Django that is set up")
        behind: Binds = behind_commit(self._dibs, "")
        return self.on(behind).execute(*args, **kwargs)

    def retry(self, *args: Any, **kwargs: Any) -> EnqueuedTask[R] | None:
        """Enqueue the next attempt of the call that runs here, under the same id.

        It runs after the task's `retry_delay` (30 s unless set) or `backoff`, with one attempt less. The running
        attempt then ends without a result of its own, whatever it returns or raises. An ``async def`` function that
        is not to hold up others awaits ``task.on(adibs).retry(...)`` instead.

        Args:
            args: positional arguments of the next attempt.
            kwargs: keyword arguments of the next attempt; `_attempts`, if among them, says how many attempts were
                left with this one, as it was passed to the function; otherwise the worker knows.

        Returns:
            A handle; None when this was the last attempt, when somebody has cancelled the call, or when its lease or
            `vis_timeout` is over, so that it is delivered again. Then nothing happens, and the attempt ends as it ends.

        Raises:
            TypeError: the function does not take these arguments.
            PayloadError: an argument cannot be written as JSON; the text names it.
            BrokerError: the broker did not take it.

        Example::

            @task(attempts=3, retry_delay=10)
            def fetch(url, **kwargs):
                try:
                    ...
                except ConnectionError:
                    fetch.retry(url, **kwargs)
        """
        call = self.definition.prepare_retry(args, kwargs, self._options)
        if call is None:
            _log.warning("%s is not tried again: that was the last attempt", self.name)
            return None
        try:
            placed = self._dibs.put_now(call.form, call.payload, call.taskid)
        except AlreadyExists:
            call.refused(self._dibs.run(look_up(self._dibs.namespace, call.taskid)))
            return None
        call.enqueued()
        return EnqueuedTask(self._dibs, placed.id, self.name, call.form.queue, placed, self.types)

    @overload
    def on(self, dibs: Binds) -> Task[P, R]: ...
    @overload
    def on(self, dibs: AsyncBinds) -> AsyncTask[P, R]: ...

    def on(self, dibs: Binds | AsyncBinds) -> Task[P, R] | AsyncTask[P, R]:
        """This task, to be enqueued through another instance: another broker or namespace, or from asyncio.

        Example::

            send.on(staging).execute("a@example.org", "hi")
            await send.on(adibs).execute("a@example.org", "hi")
        """
        return dibs.bind(self.definition, self._options)  # type: ignore[return-value]  # the same function


class CoroutineTask(Task[P, R]):
    """A `Task` made of an ``async def`` function; calling it gives the coroutine."""

    def __call__(  # type: ignore[override]  # R is what the task results in
        self, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]:
        """Call the function here: await what comes back."""
        return cast("Coroutine[Any, Any, R]", self.definition.target(*args, **kwargs))


class AsyncTask(BaseTask[P, R]):
    """A `Task` for asyncio: `execute` and `retry` are to be awaited. Made by `AsyncDibs` and by `Task.on`."""

    def __init__(self, definition: Definition, dibs: AsyncBinds, options: Options = NO_OPTIONS) -> None:
        super().__init__(definition, options)
        self._dibs = dibs

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function here: await what comes back if it is an ``async def``."""
        return self.definition.target(*args, **kwargs)

    @overload
    async def execute(self, *args: P.args, **kwargs: P.kwargs) -> AsyncEnqueuedTask[R]: ...
    @overload
    async def execute(self, *args: Any, execute_inline_now: bool, **kwargs: Any) -> Any: ...
    @overload
    async def execute(self, *args: Any, delay: Seconds, **kwargs: Any) -> AsyncEnqueuedTask[R]: ...
    @overload
    async def execute(self, *args: Any, taskid: str, **kwargs: Any) -> AsyncEnqueuedTask[R]: ...
    @overload
    async def execute(self, *args: Any, _queue: QueueName, **kwargs: Any) -> AsyncEnqueuedTask[R]: ...

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        """As `Task.execute`."""
        definition = self.definition
        if INLINE in definition.overrides and kwargs.get(INLINE):
            value = definition.target(*args, **split_options(kwargs, definition.overrides)[0])
            return await value if definition.is_async else value
        kwargs, options = split_options(kwargs, definition.overrides, self._options)
        layers = (*self._dibs.registry.layers.calls, *definition.around_calls)
        if layers:
            enqueue = around_enqueue_async(layers, self._enqueue)
            return await enqueue(OutgoingCall(definition.name, definition.queue, args, kwargs, options))
        if options is NO_OPTIONS:
            return await self._put(definition.form, definition.write(args, kwargs), "")
        call = definition.prepare(args, kwargs, options)
        return await self._put(call.form, call.payload, call.taskid)

    async def _enqueue(self, call: OutgoingCall) -> AsyncEnqueuedTask[Any]:
        """What is inside of all middleware."""
        prepared = self.definition.prepare(call.args, call.kwargs, call.options())
        return await self._put(prepared.form, prepared.payload, prepared.taskid)

    async def _put(self, form: ItemForm, payload: bytes, taskid: str) -> AsyncEnqueuedTask[Any]:
        placed = await self._dibs.put(form, payload, taskid)
        return AsyncEnqueuedTask(self._dibs, placed.id, self.definition.name, form.queue, placed, self.types)

    async def retry(self, *args: Any, **kwargs: Any) -> AsyncEnqueuedTask[R] | None:
        """As `Task.retry`."""
        call = self.definition.prepare_retry(args, kwargs, self._options)
        if call is None:
            _log.warning("%s is not tried again: that was the last attempt", self.name)
            return None
        try:
            placed = await self._dibs.put_now(call.form, call.payload, call.taskid)
        except AlreadyExists:
            call.refused(await self._dibs.run(look_up(self._dibs.namespace, call.taskid)))
            return None
        call.enqueued()
        return AsyncEnqueuedTask(self._dibs, placed.id, self.name, call.form.queue, placed, self.types)

    @overload
    def on(self, dibs: Binds) -> Task[P, R]: ...
    @overload
    def on(self, dibs: AsyncBinds) -> AsyncTask[P, R]: ...

    def on(self, dibs: Binds | AsyncBinds) -> Task[P, R] | AsyncTask[P, R]:
        """As `Task.on`."""
        return dibs.bind(self.definition, self._options)  # type: ignore[return-value]  # the same function
