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
    # Its own lines on stderr, of forks and of connections, are not for users: what fails raises an error.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# From now on forks are watched: what a child may do with gRPC depends on what its parent did, with or without dibs.
importlib.import_module(".rpc.forking", __name__)


# A public name is written twice: below for type checkers, which take `X as X` for a name that is meant to be used from
# here, and in the table of homes, which is what programs get it by.
if TYPE_CHECKING:  # ruff: isort: off
    from .admin.admin import Admin as Admin
    from .client.async_dibs import AsyncDibs as AsyncDibs
    from .admin.aio_admin import AsyncAdmin as AsyncAdmin
    from .data.aio_data import AsyncData as AsyncData
    from .client.dibs import Dibs as Dibs
    from .data.batch import DataBatch as DataBatch
    from .tasks.context import AFTER_FORK as AFTER_FORK, CURRENT_TASK as CURRENT_TASK, RunningTask as RunningTask
    from .data.data import Data as Data
    from .errors import (
        AlreadyExists as AlreadyExists,
        BrokerError as BrokerError,
        CodecError as CodecError,
        DeadlineExceeded as DeadlineExceeded,
        DibsError as DibsError,
        FailedPrecondition as FailedPrecondition,
        InvalidArgument as InvalidArgument,
        LimitExceeded as LimitExceeded,
        NoLock as NoLock,
        NotFound as NotFound,
        PayloadError as PayloadError,
        PermissionDenied as PermissionDenied,
        ResultUnavailable as ResultUnavailable,
        TaskCancelled as TaskCancelled,
        TaskExpired as TaskExpired,
        TaskFailed as TaskFailed,
        TaskNotFinished as TaskNotFinished,
        TimeLimitExceeded as TimeLimitExceeded,
        Unauthenticated as Unauthenticated,
        Unavailable as Unavailable,
        UnknownTask as UnknownTask,
    )
    from .tasks.dispositions import Reject as Reject, Retry as Retry, Snooze as Snooze
    from .tasks.handles import AsyncEnqueuedTask as AsyncEnqueuedTask, EnqueuedTask as EnqueuedTask
    from .admin.infos import (
        Advice as Advice,
        Cleared as Cleared,
        DeadLetterQueueInfo as DeadLetterQueueInfo,
        Flushed as Flushed,
        FlushProgress as FlushProgress,
        ItemInfo as ItemInfo,
        LockInfo as LockInfo,
        OverdueItem as OverdueItem,
        ParkedTask as ParkedTask,
        QueueInfo as QueueInfo,
        QuotaUse as QuotaUse,
        RunningItem as RunningItem,
        ScheduleInfo as ScheduleInfo,
        ScheduleState as ScheduleState,
        ServerInfo as ServerInfo,
        TaskInfo as TaskInfo,
        WorkerInfo as WorkerInfo,
    )
    from .client.instance import (
        batch as batch,
        call_task as call_task,
        clear_queue as clear_queue,
        close as close,
        connect as connect,
        cron_task as cron_task,
        default as default,
        execute_tasks as execute_tasks,
        flush_tasks as flush_tasks,
        get_task as get_task,
        handle as handle,
        known_queues as known_queues,
        known_tasks as known_tasks,
        lock as lock,
        periodic_task as periodic_task,
        queue_sizes as queue_sizes,
        result as result,
        results as results,
        set_priority as set_priority,
        task as task,
        use as use,
    )
    from .client.locks import AsyncLock as AsyncLock, SimpleLock as SimpleLock
    from .contract.names import DEADLETTER_QUEUE as DEADLETTER_QUEUE, DEFAULT_QUEUE as DEFAULT_QUEUE
    from .enqueueing.policy import Backoff as Backoff, Policy as Policy
    from .tasks.middleware import Middleware as Middleware, OutgoingCall as OutgoingCall
    from .tasks.schedules import Cron as Cron, Every as Every
    from .tasks.states import Cancelled as Cancelled, State as State
    from .rpc.tally import Progress as Progress
    from .tasks.task import AsyncTask as AsyncTask, Task as Task

#: Where each public name is; modules are imported when a name of theirs is first used.
_HOMES = {
    "client.async_dibs": ("AsyncDibs",),
    "admin.aio_admin": ("AsyncAdmin",),
    "client.dibs": ("Dibs",),
    "data.aio_data": ("AsyncData",),
    "data.batch": ("DataBatch",),
    "tasks.context": ("AFTER_FORK", "CURRENT_TASK", "RunningTask"),
    "client.locks": ("AsyncLock",),
    "admin.infos": (
        "Advice",
        "Cleared",
        "DeadLetterQueueInfo",
        "Flushed",
        "FlushProgress",
        "ItemInfo",
        "LockInfo",
        "OverdueItem",
        "ParkedTask",
        "QueueInfo",
        "QuotaUse",
        "RunningItem",
        "ScheduleInfo",
        "ScheduleState",
        "ServerInfo",
        "TaskInfo",
        "WorkerInfo",
    ),
    "client.instance": (
        "Admin",
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
        "use",
    ),
    "errors": (
        "AlreadyExists",
        "BrokerError",
        "CodecError",
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
        "TaskExpired",
        "TaskFailed",
        "TaskNotFinished",
        "TimeLimitExceeded",
        "Unauthenticated",
        "Unavailable",
        "UnknownTask",
    ),
    "tasks.dispositions": ("Reject", "Retry", "Snooze"),
    "tasks.handles": ("AsyncEnqueuedTask", "EnqueuedTask"),
    "contract.names": ("DEADLETTER_QUEUE", "DEFAULT_QUEUE"),
    "enqueueing.policy": ("Backoff", "Policy"),
    "tasks.middleware": ("Middleware", "OutgoingCall"),
    "tasks.schedules": ("Cron", "Every"),
    "tasks.states": ("Cancelled", "State"),
    "rpc.tally": ("Progress",),
    "tasks.task": ("AsyncTask", "Task"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


if not TYPE_CHECKING:  # who checks types finds a name that is not there

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
