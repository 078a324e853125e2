"""From the arguments of the decorators to the definition of a task, for both faces."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from ..contract.names import QueueName
from ..enqueueing.policy import Delivery, Policy
from ..rpc.times import Seconds
from .definition import Definition
from .dispositions import ErrorClasses, ErrorRules
from .middleware import Middleware, checked
from .no_effect import warn_of_no_effect
from .schedules import Cron, Every, Schedule
from .suitable import check_function
from .task import AsyncBinds, AsyncTask, BaseTask, Binds, CoroutineTask, Task

if TYPE_CHECKING:
    from typing import Unpack

P = ParamSpec("P")
R = TypeVar("R")


class TaskArguments(Delivery, total=False):
    """The arguments of the decorators beside queue and name; see `Dibs.task`."""

    aliases: Sequence[str]
    retry_on: ErrorClasses | None
    give_up_on: ErrorClasses | None
    middleware: Iterable[Middleware]


@dataclass(frozen=True)
class Recipe:
    """What a decorator was given; makes the definition once the function is there."""

    policy: Policy
    rules: ErrorRules
    queue: QueueName | None
    name: str | None
    schedule: Schedule | None = None
    aliases: Sequence[str] = ()
    middleware: Sequence[Middleware] = ()

    @classmethod
    def build(
        cls,
        queue: QueueName | None,
        name: str | None,
        schedule: Schedule | None = None,
        *,
        aliases: Sequence[str] = (),
        retry_on: ErrorClasses | None = None,
        give_up_on: ErrorClasses | None = None,
        middleware: Iterable[Middleware] = (),
        **delivery: Unpack[Delivery],
    ) -> Recipe:
        """Check what a decorator was given, and warn of what can have no effect.

        Raises:
            TypeError: `retry_on` or `give_up_on` are no classes of exceptions, or `middleware` is none.
            ValueError: a value is out of range; the text names the argument.
        """
        policy, rules = Policy.build(**delivery), ErrorRules.build(retry_on, give_up_on)
        warn_of_no_effect(policy, rules)
        return cls(policy, rules, queue, name, schedule, aliases, checked(middleware))

    def define(self, function: Callable[..., Any]) -> Definition:
        """The definition of a task that runs `function`.

        Raises:
            TypeError: no task can be made of it.
            ValueError: a name is none, or is missing.
        """
        _refuse_task(function)
        check_function(function, self.name)
        return Definition(
            function,
            queue=self.queue,
            name=self.name,
            policy=self.policy,
            schedule=self.schedule,
            rules=self.rules,
            aliases=self.aliases,
            middleware=self.middleware,
        )


def _refuse_task(function: object) -> None:
    """A task of a task would call the one and be another.

    Raises:
        TypeError: it is one, or a decorator has been put around one.
    """
    below = function
    while below is not None:
        if isinstance(below, BaseTask):
            raise TypeError(
                f"{below.name} is a task already: write one decorator of dibs above the function, above all others"
            )
        below = getattr(below, "__wrapped__", None)


def task_recipe(queue: QueueName | None, name: str | None, **arguments: Unpack[TaskArguments]) -> Recipe:
    """For `task`."""
    return Recipe.build(queue, name, **arguments)


def periodic_recipe(
    run_every: Seconds,
    queue: QueueName | None,
    name: str | None,
    never_skip: bool,
    low_delay_okay: bool,
    **arguments: Unpack[TaskArguments],
) -> Recipe:
    """For `periodic_task`."""
    schedule = Every.build(run_every, never_skip=never_skip, low_delay_okay=low_delay_okay)
    return Recipe.build(queue, name, schedule, **arguments)


def cron_recipe(
    crontab: str,
    queue: QueueName | None,
    name: str | None,
    never_skip: bool,
    timezone: str | tzinfo | None,
    seconds: bool,
    **arguments: Unpack[TaskArguments],
) -> Recipe:
    """For `cron_task`."""
    schedule = Cron.build(crontab, timezone=timezone, never_skip=never_skip, seconds=seconds)
    return Recipe.build(queue, name, schedule, **arguments)


class TaskDecorator:
    """What ``@task(...)`` with arguments gives: makes a task of the function below it."""

    def __init__(self, dibs: Binds, recipe: Recipe) -> None:
        self._dibs = dibs
        self._recipe = recipe

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> Task[..., Any]:
        """Make and register the task.

        Raises:
            TypeError: no task can be made of it: a method, a generator, a class, a task; the text says what to write.
            ValueError: it has no name of its own, or its name or an alias is another task's.
        """
        task = self._dibs.bind(self._recipe.define(function))
        self._dibs.registry.register(task)
        return task


class AsyncTaskDecorator:
    """As `TaskDecorator`, for asyncio."""

    def __init__(self, dibs: AsyncBinds, recipe: Recipe) -> None:
        self._dibs = dibs
        self._recipe = recipe

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> AsyncTask[P, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> AsyncTask[..., Any]:
        """Make and register the task.

        Raises:
            TypeError: no task can be made of it: a method, a generator, a class, a task; the text says what to write.
            ValueError: it has no name of its own, or its name or an alias is another task's.
        """
        task = self._dibs.bind(self._recipe.define(function))
        self._dibs.registry.register(task)
        return task
