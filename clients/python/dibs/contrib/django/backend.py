"""A backend for Django's own tasks: those of Django 6, and of the package django-tasks for earlier ones.

::

    TASKS = {"default": {"BACKEND": "dibs.contrib.django.backend.DibsBackend"}}

OPTIONS, with their defaults: ``INSTANCE`` ("default") of DIBS; ``LEASE`` (30): seconds in which a worker that died is
noticed, while the task may run for as long as it likes; ``ATTEMPTS`` (1); ``RESULT_TTL`` (86400): seconds that results
are kept.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.module_loading import import_string

from ...rpc.ids import new_id
from ...tasks.context import CURRENT_TASK
from ...tasks.result_flows import look_up, result_of
from ...tasks.states import State, state_from_wire
from ...tasks.task import Task as DibsTask
from ...v1 import broker_pb2 as pb
from .connecting import instance


def _home() -> str:
    """The package that has Django's tasks."""
    try:
        importlib.import_module("django.tasks")
    except ImportError:
        return "django_tasks"
    return "django.tasks"


_base = importlib.import_module(f"{_home()}.base")
_backends = importlib.import_module(f"{_home()}.backends.base")
_exceptions = importlib.import_module(f"{_home()}.exceptions")
_signals = importlib.import_module(f"{_home()}.signals")

#: Name of the one task that runs all of them.
TASK_NAME = "dibs.contrib.django.run"
#: Stands between a task's path and the rest of an id.
_SEPARATOR = ":"
#: Longest id that a broker takes unless its settings say otherwise.
_LONGEST_ID = 128
_STATUSES = {
    State.SCHEDULED: "READY",
    State.LATE: "READY",
    State.WAITING: "READY",
    State.STARTED: "RUNNING",
    State.SUCCEEDED: "SUCCESSFUL",
    State.FAILED: "FAILED",
    State.DEAD: "FAILED",
    State.CANCELLED: "FAILED",
}


def run(path: str, args: Sequence[Any], kwargs: Mapping[str, Any], enqueued_at: str, backend: str) -> dict[str, Any]:
    """Run one of Django's tasks, in a worker."""
    task = import_string(path)
    running = CURRENT_TASK.task
    began = timezone.now().isoformat()
    call = {"args": list(args), "kwargs": dict(kwargs), "enqueued_at": enqueued_at, "started_at": began}
    id = running.taskid if running is not None else ""
    attempt = running.attempt if running is not None else 1
    result = _result(task, id, "RUNNING", backend, call, attempt)
    _signals.task_started.send(sender=DibsBackend, task_result=result)
    given = (_base.TaskContext(task_result=result), *args) if task.takes_context else tuple(args)
    try:
        returned = task.call(*given, **kwargs)
    except BaseException as error:
        failed = _result(task, id, "FAILED", backend, call, attempt, errors=[_error_of(error)])
        _signals.task_finished.send(sender=DibsBackend, task_result=failed)
        raise
    done = {**call, "finished_at": timezone.now().isoformat(), "returned": returned, "attempt": attempt}
    _signals.task_finished.send(sender=DibsBackend, task_result=_result(task, id, "SUCCESSFUL", backend, done, attempt))
    return done


class DibsBackend(_backends.BaseTaskBackend):  # type: ignore[misc,name-defined]  # which package it is of is seen when it runs
    """Enqueues Django's tasks as calls of one task of dibs, under ids that begin with the path of theirs."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        options = dict(params.get("OPTIONS", {}))
        self._dibs = instance(options.pop("INSTANCE", "default"))
        policy = {
            "lease": options.pop("LEASE", 30),
            "attempts": options.pop("ATTEMPTS", 1),
            "save_results": options.pop("RESULT_TTL", 86_400),
        }
        if options:
            raise ValueError(f"TASKS, {alias!r}: there is no option {', '.join(sorted(options))}")
        self._task: DibsTask[..., Any] = self._dibs.task(name=TASK_NAME, **policy)(run)

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Enqueue a call of the task.

        Raises:
            InvalidTaskError: the backend does not take the task, or the path of its function is too long for an id.
        """
        self.validate_task(task)
        id = f"{task.module_path}{_SEPARATOR}{new_id()}"
        if len(id) > _LONGEST_ID:
            raise _exceptions.InvalidTaskError(f"the path of {task.module_path} is too long for an id")
        now = timezone.now()
        call = {"args": list(args), "kwargs": dict(kwargs), "enqueued_at": now.isoformat()}
        result = _result(task, id, "READY", self.alias, call, 0)
        chosen = self._task.options(taskid=id, queue=task.queue_name, at=task.run_after, on_conflict="keep")
        chosen.execute(task.module_path, result.args, result.kwargs, call["enqueued_at"], self.alias)
        _signals.task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """How a call stands, and what it returned.

        Raises:
            TaskResultDoesNotExist: it is not known, or its result is not kept any more.
        """
        path, separator, _ = result_id.partition(_SEPARATOR)
        found = self._dibs.run(look_up(self._dibs.namespace, result_id, include_content=True))
        state = state_from_wire(found.state)
        if not separator or state not in _STATUSES:
            raise _exceptions.TaskResultDoesNotExist(result_id)
        if state is State.SUCCEEDED:
            call = result_of(found, self._dibs.sealing)
            return _result(import_string(path), result_id, "SUCCESSFUL", self.alias, call, call["attempt"])
        errors = [_told_error(found)] if _STATUSES[state] == "FAILED" else []
        return _result(import_string(path), result_id, _STATUSES[state], self.alias, {}, found.attempt, errors=errors)


def _result(
    task: Any,
    id: str,
    status: str,
    backend: str,
    call: Mapping[str, Any],
    attempt: int,
    *,
    errors: Sequence[Any] = (),
) -> Any:
    def when(name: str) -> Any:
        text = call.get(name)
        return None if text is None else datetime.fromisoformat(text)

    result = _base.TaskResult(
        task=task,
        id=id,
        status=_base.TaskResultStatus[status],
        enqueued_at=when("enqueued_at"),
        started_at=when("started_at"),
        last_attempted_at=when("started_at"),
        finished_at=when("finished_at"),
        args=call.get("args", []),
        kwargs=call.get("kwargs", {}),
        backend=backend,
        errors=list(errors),
        worker_ids=["dibs"] * attempt,
    )
    object.__setattr__(result, "_return_value", call.get("returned"))
    return result


def _error_of(error: BaseException) -> Any:
    kind = type(error)
    return _base.TaskError(exception_class_path=f"{kind.__module__}.{kind.__qualname__}", traceback=str(error))


def _told_error(found: pb.ItemResult) -> Any:
    """The error of a call that failed, from the text that its worker sent."""
    last = found.error.rstrip().rpartition("\n")[2]
    name = last.partition(":")[0].strip()
    path = name if "." in name else f"builtins.{name or 'Exception'}"
    return _base.TaskError(exception_class_path=path, traceback=found.error or "cancelled")
