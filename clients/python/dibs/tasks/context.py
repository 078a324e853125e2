"""Which task is running here, and what to run in a new worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[[], Any])


class RunningTask:
    """One delivery of a task, as the running function sees it through ``CURRENT_TASK.task``.

    Attributes:
        taskid: id of the task.
        name: name that it was enqueued under.
        queue: queue that it came from.
        args: its positional arguments.
        kwargs: its keyword arguments.
        attempt: number of this delivery, from 1.
        attempts: deliveries that it may have in all.
        last_error: error text of the previous attempt; empty when there is none.
        lease_token: token of this delivery's lease; 0 for one that is delivered at most once and of which nothing is
            kept.
        cancelled: whether somebody has cancelled it while it runs. The worker sets it, from another thread;
            a long task looks at it now and then, and returns early.
        lost: whether its lease is over, so that somebody else may run it by now, and nothing counts that comes of this
            run. The worker sets it within a second; a long task looks at it now and then, and returns early. An
            ``async`` function is cancelled as well, unless its task has a `vis_timeout`.
        time_limit: seconds that this run may take; None: as many as it likes.
        headers: what the producer passed along, such as a trace context; without those that dibs itself has set.
        retried: whether `Task.retry` has put another attempt in its place. The worker then reports nothing of this
            one: its lease is superseded.
    """

    __slots__ = (
        "__weakref__",
        "args",
        "attempt",
        "attempts",
        "cancelled",
        "headers",
        "kwargs",
        "last_error",
        "lease_token",
        "lost",
        "name",
        "queue",
        "retried",
        "taskid",
        "time_limit",
    )

    def __init__(
        self,
        taskid: str,
        name: str,
        queue: str,
        args: list[Any],
        kwargs: dict[str, Any],
        attempt: int = 1,
        attempts: int = 1,
        last_error: str = "",
        headers: Mapping[str, str] | None = None,
        lease_token: int = 0,
        time_limit: float | None = None,
    ) -> None:
        self.taskid = taskid
        self.name = name
        self.queue = queue
        self.args = args
        self.kwargs = kwargs
        self.attempt = attempt
        self.attempts = attempts
        self.last_error = last_error
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.lease_token = lease_token
        self.time_limit = time_limit
        self.cancelled = False
        self.lost = False
        self.retried = False

    def __repr__(self) -> str:
        """Name, id and attempt; never the arguments."""
        return f"<RunningTask {self.name} {self.taskid} attempt {self.attempt}/{self.attempts}>"


_running: ContextVar[RunningTask | None] = ContextVar("dibs_running_task", default=None)


class CurrentTask:
    """The task that runs in this thread or asyncio task, as ``CURRENT_TASK.task``."""

    __slots__ = ()

    @property
    def task(self) -> RunningTask | None:
        """The running task; None outside of a task."""
        return _running.get()

    #: For the worker: says that a task begins here. Returns what `end` needs.
    begin: Callable[[RunningTask | None], Token[RunningTask | None]] = staticmethod(_running.set)

    #: For the worker: says that the task that `begin` was called for has ended.
    end: Callable[[Token[RunningTask | None]], None] = staticmethod(_running.reset)


class ProcessHooks(list[Callable[[], Any]]):
    """Callables to run in every new worker process, in order, before its first task.

    Use it as a list or as a decorator: connections that must not be shared between processes are opened here.
    """

    def __call__(self, hook: F) -> F:
        """Add `hook`; the decorator's form."""
        self.append(hook)
        return hook

    def run(self) -> None:
        """Run all hooks; the worker calls this. What a hook raises ends the process."""
        for hook in tuple(self):
            hook()


#: The task that runs in this thread or asyncio task.
CURRENT_TASK = CurrentTask()

#: Callables to run in every new worker process before its first task.
AFTER_FORK = ProcessHooks()
