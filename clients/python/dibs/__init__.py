"""dibs: a task and data queue that programs reach over gRPC.

Example::

    import dibs

    dibs.connect("127.0.0.1:7411")

    @dibs.task(save_results=60)
    def add(a: int, b: int) -> int:
        return a + b

    handle = add.execute(2, 3)  # runs in a worker: dibs worker mymodule
    print(handle.get(timeout=10))

The functions here belong to a default instance; make more with `Dibs`, and `AsyncDibs` for asyncio.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

# gRPC reads this when it is imported. Its fork support crashes children beside an asyncio channel; see `forking`.
if "grpc" not in sys.modules:
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from . import forking as forking  # before anything uses gRPC, and after the line above

if TYPE_CHECKING:
    from .aio import AsyncDibs
    from .aio_data import AsyncData
    from .client import Dibs
    from .consuming import DataBatch
    from .context import AFTER_FORK, CURRENT_TASK, RunningTask
    from .data import Data
    from .errors import (
        AlreadyExists,
        BrokerError,
        DeadlineExceeded,
        DibsError,
        FailedPrecondition,
        InvalidArgument,
        LimitExceeded,
        NoLock,
        NotFound,
        PayloadError,
        PermissionDenied,
        ResultUnavailable,
        TaskCancelled,
        TaskFailed,
        TaskNotFinished,
        Unauthenticated,
        Unavailable,
        UnknownTask,
    )
    from .handles import AsyncEnqueuedTask, EnqueuedTask
    from .instance import (
        batch,
        call_task,
        clear_queue,
        close,
        connect,
        cron_task,
        default,
        execute_tasks,
        flush_tasks,
        get_task,
        handle,
        known_queues,
        known_tasks,
        lock,
        periodic_task,
        queue_sizes,
        result,
        results,
        set_priority,
        task,
    )
    from .locks import AsyncLock, SimpleLock
    from .names import DEADLETTER_QUEUE, DEFAULT_QUEUE
    from .policy import Backoff
    from .schedules import Cron, Every
    from .states import Cancelled, State
    from .tasks import AsyncTask, Task

#: Where each public name is; modules are imported when a name of theirs is first used.
_HOMES = {
    "aio": ("AsyncDibs",),
    "client": ("Dibs",),
    "aio_data": ("AsyncData",),
    "consuming": ("DataBatch",),
    "context": ("AFTER_FORK", "CURRENT_TASK", "RunningTask"),
    "locks": ("AsyncLock",),
    "instance": (
        "Data",
        "SimpleLock",
        "batch",
        "call_task",
        "clear_queue",
        "close",
        "connect",
        "cron_task",
        "default",
        "execute_tasks",
        "flush_tasks",
        "get_task",
        "handle",
        "known_queues",
        "known_tasks",
        "lock",
        "periodic_task",
        "queue_sizes",
        "result",
        "results",
        "set_priority",
        "task",
    ),
    "errors": (
        "AlreadyExists",
        "BrokerError",
        "DeadlineExceeded",
        "DibsError",
        "FailedPrecondition",
        "InvalidArgument",
        "LimitExceeded",
        "NoLock",
        "NotFound",
        "PayloadError",
        "PermissionDenied",
        "ResultUnavailable",
        "TaskCancelled",
        "TaskFailed",
        "TaskNotFinished",
        "Unauthenticated",
        "Unavailable",
        "UnknownTask",
    ),
    "handles": ("AsyncEnqueuedTask", "EnqueuedTask"),
    "names": ("DEADLETTER_QUEUE", "DEFAULT_QUEUE"),
    "policy": ("Backoff",),
    "schedules": ("Cron", "Every"),
    "states": ("Cancelled", "State"),
    "tasks": ("AsyncTask", "Task"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AFTER_FORK",
    "CURRENT_TASK",
    "DEADLETTER_QUEUE",
    "DEFAULT_QUEUE",
    "AlreadyExists",
    "AsyncData",
    "AsyncDibs",
    "AsyncEnqueuedTask",
    "AsyncLock",
    "AsyncTask",
    "Backoff",
    "BrokerError",
    "Cancelled",
    "Cron",
    "Data",
    "DataBatch",
    "DeadlineExceeded",
    "Dibs",
    "DibsError",
    "EnqueuedTask",
    "Every",
    "FailedPrecondition",
    "InvalidArgument",
    "LimitExceeded",
    "NoLock",
    "NotFound",
    "PayloadError",
    "PermissionDenied",
    "ResultUnavailable",
    "RunningTask",
    "SimpleLock",
    "State",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskNotFinished",
    "Unauthenticated",
    "Unavailable",
    "UnknownTask",
    "batch",
    "call_task",
    "clear_queue",
    "close",
    "connect",
    "cron_task",
    "default",
    "execute_tasks",
    "flush_tasks",
    "get_task",
    "handle",
    "known_queues",
    "known_tasks",
    "lock",
    "periodic_task",
    "queue_sizes",
    "result",
    "results",
    "set_priority",
    "task",
]


def __getattr__(name: str) -> Any:
    """A public name, when it is first used."""
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, used or not."""
    return sorted({*globals(), *__all__})
