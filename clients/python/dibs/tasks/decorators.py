"""From the arguments of the decorators to the definition of a task, for both faces."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from ..contract.names import QueueName
from ..enqueueing.policy import Delivery, Policy
from ..rpc.times import Seconds
from .definition import Definition
from .dispositions import ErrorClasses, ErrorRules
from .no_effect import warn_of_no_effect
from .schedules import Cron, Every, Schedule
from .task import AsyncBinds, AsyncTask, Binds, CoroutineTask, Task

if TYPE_CHECKING:
    from typing import Unpack

P = ParamSpec("P")
R = TypeVar("R")


class TaskArguments(Delivery, total=False):
    """The arguments of the decorators that say how calls are delivered, and what exceptions mean; see `Dibs.task`."""

    retry_on: ErrorClasses | None
    give_up_on: ErrorClasses | None


@dataclass(frozen=True)
class Recipe:
    """What a decorator was given; makes the definition once the function is there."""

    policy: Policy
    rules: ErrorRules
    queue: QueueName | None
    name: str | None
    schedule: Schedule | None = None

    @classmethod
    def build(
        cls,
        queue: QueueName | None,
        name: str | None,
        schedule: Schedule | None = None,
        *,
        retry_on: ErrorClasses | None = None,
        give_up_on: ErrorClasses | None = None,
        **delivery: Unpack[Delivery],
    ) -> Recipe:
        """Check what a decorator was given, and warn of what can have no effect.

        Raises:
            TypeError: `retry_on` or `give_up_on` are no classes of exceptions.
            ValueError: a value is out of range; the text names the argument.
        """
        policy, rules = Policy.build(**delivery), ErrorRules.build(retry_on, give_up_on)
        warn_of_no_effect(policy, rules)
        return cls(policy, rules, queue, name, schedule)

    def define(self, function: Callable[..., Any]) -> Definition:
        """The definition of a task that runs `function`."""
        return Definition(
            function, queue=self.queue, name=self.name, policy=self.policy, schedule=self.schedule, rules=self.rules
        )


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
        """Make and register the task."""
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
        """Make and register the task."""
        task = self._dibs.bind(self._recipe.define(function))
        self._dibs.registry.register(task)
        return task
