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
from .schedules import Cron, Every, Schedule
from .task import AsyncBinds, AsyncTask, Binds, CoroutineTask, Task

if TYPE_CHECKING:
    from typing import Unpack

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Recipe:
    """What a decorator was given; makes the definition once the function is there."""

    policy: Policy
    queue: QueueName | None
    name: str | None
    schedule: Schedule | None = None

    def define(self, function: Callable[..., Any]) -> Definition:
        """The definition of a task that runs `function`."""
        return Definition(function, queue=self.queue, name=self.name, policy=self.policy, schedule=self.schedule)


def task_recipe(queue: QueueName | None, name: str | None, **delivery: Unpack[Delivery]) -> Recipe:
    """For `task`."""
    return Recipe(Policy.build(**delivery), queue, name)


def periodic_recipe(
    run_every: Seconds,
    queue: QueueName | None,
    name: str | None,
    never_skip: bool,
    low_delay_okay: bool,
    **delivery: Unpack[Delivery],
) -> Recipe:
    """For `periodic_task`."""
    schedule = Every.build(run_every, never_skip=never_skip, low_delay_okay=low_delay_okay)
    return Recipe(Policy.build(**delivery), queue, name, schedule)


def cron_recipe(
    crontab: str,
    queue: QueueName | None,
    name: str | None,
    never_skip: bool,
    timezone: str | tzinfo | None,
    seconds: bool,
    **delivery: Unpack[Delivery],
) -> Recipe:
    """For `cron_task`."""
    schedule = Cron.build(crontab, timezone=timezone, never_skip=never_skip, seconds=seconds)
    return Recipe(Policy.build(**delivery), queue, name, schedule)


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
