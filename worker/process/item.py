"""What slots are dealt: a delivery, and the task that it is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from dibs.tasks.types import TaskTypes
from dibs.v1 import types_pb2 as tpb

from ..shared.sorts import Sort


class Runnable(Protocol):
    """What the worker needs of a task."""

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
        """Converts its arguments and what it returns; None where there is nothing to convert."""

    def gives_up_on(self, error: BaseException) -> bool:
        """Whether a call that raised this is not tried again, whatever attempts are left."""


#: A delivery, when it arrived (on the monotonic clock), its task, and its position.
Item = tuple[tpb.Delivery, float, Runnable, int]


def by_sort(tasks: Mapping[str, Runnable]) -> dict[Sort, dict[str, Runnable]]:
    """The tasks of each sort, by name; a sort may have none."""
    sorted_: dict[Sort, dict[str, Runnable]] = {sort: {} for sort in Sort}
    for name, task in tasks.items():
        sorted_[Sort.ASYNC if task.is_async else Sort.PLAIN][name] = task
    return sorted_
