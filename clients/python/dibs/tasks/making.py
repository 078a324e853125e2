"""The decorators that make tasks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import tzinfo
from typing import Any, ParamSpec, TypeVar, overload

from ..contract.names import QueueName
from ..enqueueing.policy import DEFAULT_MAX_CRASHES, Backoff
from ..rpc.times import Seconds
from .decorators import TaskDecorator, cron_recipe, periodic_recipe, task_recipe
from .dispositions import ErrorClasses
from .middleware import Middleware
from .task import Binds, CoroutineTask, Task

P = ParamSpec("P")
R = TypeVar("R")


class TaskMaking(Binds):
    """A part of `Dibs`."""

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        queue: QueueName | None = None,
        attempts: int | None = None,
        retry_delay: Seconds | None = None,
        save_results: Seconds = 0,
        vis_timeout: Seconds = 0,
        use_dead: bool | str | None = False,
        *,
        backoff: Backoff | None = None,
        max_crashes: int = DEFAULT_MAX_CRASHES,
        retry_on: ErrorClasses | None = None,
        give_up_on: ErrorClasses | None = None,
        lease: Seconds = 0,
        time_limit: Seconds | None = None,
        expires: Seconds | None = None,
        name: str | None = None,
        aliases: Sequence[str] = (),
        middleware: Iterable[Middleware] = (),
    ) -> TaskDecorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        queue: QueueName | None = None,
        attempts: int | None = None,
        retry_delay: Seconds | None = None,
        save_results: Seconds = 0,
        vis_timeout: Seconds = 0,
        use_dead: bool | str | None = False,
        *,
        backoff: Backoff | None = None,
        max_crashes: int = DEFAULT_MAX_CRASHES,
        retry_on: ErrorClasses | None = None,
        give_up_on: ErrorClasses | None = None,
        lease: Seconds = 0,
        time_limit: Seconds | None = None,
        expires: Seconds | None = None,
        name: str | None = None,
        aliases: Sequence[str] = (),
        middleware: Iterable[Middleware] = (),
    ) -> Any:
        """Decorator that makes a task of a function; with or without arguments. All times: seconds or a timedelta.

        Args:
            function: the function; the decorator passes it.
            queue: queue of its calls. Default ``default``.
            attempts: deliveries of one call in all, the first included. Default 1, with a lease 3.
            retry_delay: wait before another attempt. Default: 30 s when the task asks for it by `Task.retry`; after
                an exception (with `lease` or `vis_timeout`), until that would be over.
            save_results: time to live of results: how long they are kept, to be fetched. Default 0: they are not.
            vis_timeout: visibility timeout: how long one delivery may take; then, and when the function raises, it is
                delivered again if attempts are left, also if it still runs. Default 0: a call is delivered once and
                never again, unless there is a lease.
            use_dead: dead-letter queue: where calls go that have used up their attempts; a text names another than
                the usual one.
            backoff: growing waits between attempts, instead of `retry_delay`.
            max_crashes: how many times a call may kill the process that runs it, 1 to 1,000: then it is dead, whatever
                attempts are left. Default 3.
            retry_on: classes of exceptions: after others a call has failed for good, whatever attempts are left.
                Default: any exception has it tried again. For tasks with a lease.
            give_up_on: classes of exceptions after which it has failed for good, also if they are among `retry_on`.
            lease: at least once: if whoever runs a call dies, that is noticed within so long, at least 1 s, and it is
                delivered again if attempts are left; also when the function raises. The worker renews it for as long
                as the function runs, however long that is. Not together with `vis_timeout`.
            time_limit: how long one run may take, at least 1 ms. Then it has failed: an ``async`` function is
                cancelled, in another one `TimeLimitExceeded` is raised; the process of one that goes on is replaced.
                Default: as long as it likes.
            expires: how long a call may wait after it was due, at least 1 ms. Then nobody gets it any more, for its
                first attempt or a further one: it has expired, and is a dead letter if the task has `use_dead`.
                Default: for ever.
            name: its name. Default: module and name of the function. Lambdas and functions that are made inside of
                others need one, and the worker must make them, too, when it imports its module.
            aliases: names that it had before: workers run what was enqueued under them.
            middleware: around this task alone, inside of the instance's, the first outermost; see `Middleware`.

        Raises:
            TypeError: no task can be made of the function: it is a method, a generator, a class or a task; or
                `retry_on` or `give_up_on` are no classes of exceptions.
            ValueError: an argument is out of range (the text names it), there is a lease and a `vis_timeout`, another
                task has that name, or the function has none of its own.

        Warns:
            UserWarning: an argument can have no effect beside the others; the text says what is missing.

        Example::

            @task
            def ping() -> str: ...

            @task(queue="mail", attempts=5, lease=30, backoff=Backoff(initial=5))
            def send(address: str) -> None: ...
        """
        recipe = task_recipe(
            queue,
            name,
            attempts=attempts,
            retry_delay=retry_delay,
            save_results=save_results,
            vis_timeout=vis_timeout,
            use_dead=use_dead,
            backoff=backoff,
            max_crashes=max_crashes,
            retry_on=retry_on,
            give_up_on=give_up_on,
            lease=lease,
            time_limit=time_limit,
            expires=expires,
            aliases=aliases,
            middleware=middleware,
        )
        decorator = TaskDecorator(self, recipe)
        return decorator if function is None else decorator(function)

    def periodic_task(
        self,
        run_every: Seconds,
        queue: QueueName | None = None,
        never_skip: bool = False,
        attempts: int | None = None,
        retry_delay: Seconds | None = None,
        low_delay_okay: bool = False,
        save_results: Seconds = 0,
        name: str | None = None,
        *,
        vis_timeout: Seconds = 0,
        use_dead: bool | str | None = False,
        backoff: Backoff | None = None,
        max_crashes: int = DEFAULT_MAX_CRASHES,
        retry_on: ErrorClasses | None = None,
        give_up_on: ErrorClasses | None = None,
        lease: Seconds = 0,
        time_limit: Seconds | None = None,
        expires: Seconds | None = None,
        aliases: Sequence[str] = (),
        middleware: Iterable[Middleware] = (),
    ) -> TaskDecorator:
        """Decorator that makes a task which runs again and again after a fixed period.

        A worker that has it registers it when it starts; from then on the brokers see to it. The function is called
        without arguments. The task can be enqueued by hand, too.

        Args:
            run_every: the period; seconds or a timedelta, at least 1 s.
            queue: as for `task`.
            never_skip: make up for times that were missed, one after the other; otherwise they are skipped.
            attempts: as for `task`.
            retry_delay: as for `task`.
            low_delay_okay: allow a period below 1 s, down to 10 ms.
            save_results: as for `task`.
            name: as for `task`.
            vis_timeout: as for `task`.
            use_dead: as for `task`.
            backoff: as for `task`.
            max_crashes: as for `task`.
            retry_on: as for `task`.
            give_up_on: as for `task`.
            lease: as for `task`.
            time_limit: as for `task`.
            expires: as for `task`.
            aliases: as for `task`.
            middleware: as for `task`.

        Raises:
            ValueError: as for `task`, or `run_every` is 0, or below 1 s without `low_delay_okay`.

        Example::

            @periodic_task(timedelta(minutes=5), queue="low")
            def clean_up() -> None: ...
        """
        recipe = periodic_recipe(
            run_every,
            queue,
            name,
            never_skip,
            low_delay_okay,
            attempts=attempts,
            retry_delay=retry_delay,
            save_results=save_results,
            vis_timeout=vis_timeout,
            use_dead=use_dead,
            backoff=backoff,
            max_crashes=max_crashes,
            retry_on=retry_on,
            give_up_on=give_up_on,
            lease=lease,
            time_limit=time_limit,
            expires=expires,
            aliases=aliases,
            middleware=middleware,
        )
        return TaskDecorator(self, recipe)

    def cron_task(
        self,
        crontab: str,
        queue: QueueName | None = None,
        never_skip: bool = False,
        attempts: int | None = None,
        retry_delay: Seconds | None = None,
        save_results: Seconds = 0,
        name: str | None = None,
        *,
        timezone: str | tzinfo | None = None,
        seconds: bool = False,
        vis_timeout: Seconds = 0,
        use_dead: bool | str | None = False,
        backoff: Backoff | None = None,
        max_crashes: int = DEFAULT_MAX_CRASHES,
        retry_on: ErrorClasses | None = None,
        give_up_on: ErrorClasses | None = None,
        lease: Seconds = 0,
        time_limit: Seconds | None = None,
        expires: Seconds | None = None,
        aliases: Sequence[str] = (),
        middleware: Iterable[Middleware] = (),
    ) -> TaskDecorator:
        """Decorator that makes a task which runs when a crontab expression says so. Needs ``dibs[worker]``.

        Args:
            crontab: five fields: minute, hour, day of month, month, day of week; with `seconds`, the second
                first. Months and days may be names, such as ``jan`` and ``tue``.
            queue: as for `task`.
            never_skip: as for `periodic_task`.
            attempts: as for `task`.
            retry_delay: as for `task`.
            save_results: as for `task`.
            name: as for `task`.
            timezone: time zone of the expression: its name or a ZoneInfo. Default UTC.
            seconds: the expression has six fields, the first of which is the second. Without it six fields are refused:
                elsewhere the sixth is the year.
            vis_timeout: as for `task`.
            use_dead: as for `task`.
            backoff: as for `task`.
            max_crashes: as for `task`.
            retry_on: as for `task`.
            give_up_on: as for `task`.
            lease: as for `task`.
            time_limit: as for `task`.
            expires: as for `task`.
            aliases: as for `task`.
            middleware: as for `task`.

        Raises:
            ValueError: as for `task`, or `crontab` or `timezone` makes no sense.
            DibsError: croniter is not installed.

        Example::

            @cron_task("0 5 * * tue", timezone="Europe/Berlin")
            def report() -> None: ...  # every Tuesday at 5 o'clock
        """
        recipe = cron_recipe(
            crontab,
            queue,
            name,
            never_skip,
            timezone,
            seconds,
            attempts=attempts,
            retry_delay=retry_delay,
            save_results=save_results,
            vis_timeout=vis_timeout,
            use_dead=use_dead,
            backoff=backoff,
            max_crashes=max_crashes,
            retry_on=retry_on,
            give_up_on=give_up_on,
            lease=lease,
            time_limit=time_limit,
            expires=expires,
            aliases=aliases,
            middleware=middleware,
        )
        return TaskDecorator(self, recipe)
