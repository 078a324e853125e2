"""Tasks whose code is elsewhere: what workers have told the broker of them."""

from __future__ import annotations

import logging
import time
from typing import Any

import grpc

from ..enqueueing.policy import policy_from_wire
from ..errors import BrokerError, DibsError
from ..rpc import admin_operations as admin
from ..rpc.flow import Flow, do
from ..rpc.pages import Pages, whole
from ..v1 import admin_pb2 as pb
from .definition import Definition

_log = logging.getLogger("dibs")

#: How long what the broker said of a task is believed, in seconds; shorter if it did not know the task.
KEEP_SECONDS = 60.0
KEEP_UNKNOWN_SECONDS = 1.0
#: Tasks to remember; beyond that all are asked for again.
_MAX_REMEMBERED = 10_000

#: Brokers that do not let us ask, or cannot say.
_NO_ANSWER = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)


class KnownTasks:
    """The tasks that the broker knows, each asked for when it is first needed, and believed for a while."""

    def __init__(self) -> None:
        #: By namespace and name: until when it is believed, and what it is; None: the broker does not know it.
        self._remembered: dict[tuple[str, str], tuple[float, Definition | None]] = {}

    def find(self, namespace: str, name: str) -> Flow[Definition | None]:
        """The task of that name, or None."""
        key = (namespace, name)
        until, definition = self._remembered.get(key, (0.0, None))
        if until > time.monotonic():
            return definition
        try:
            tasks, _ = yield from do(admin.list_tasks(namespace, [name]))
        except BrokerError as error:
            if error.code not in _NO_ANSWER:
                raise
            _log.debug("the broker does not say how task %s is to be called: %s", name, error)
            tasks = ()
        else:
            if not tasks and key not in self._remembered:
                _log.warning("no worker has registered a task %s in the last 30 days: its calls wait for one", name)
        definition = _definition(tasks[0].definition) if tasks else None
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        keep = KEEP_UNKNOWN_SECONDS if definition is None else KEEP_SECONDS
        self._remembered[key] = (time.monotonic() + keep, definition)
        return definition

    def names(self, namespace: str) -> Flow[list[str]]:
        """The names of all tasks that the broker knows."""
        there = yield from whole(Pages(lambda token: admin.list_tasks(namespace, page_token=token)))
        return [task.definition.name for task in there]


def elsewhere(*args: Any, **kwargs: Any) -> Any:
    """Stands for a function whose code is not here."""
    raise DibsError("the code of this task is not here")


def _definition(task: pb.TaskDefinition) -> Definition:
    policy = policy_from_wire(task.policy)
    return Definition(elsewhere, queue=task.queue, name=task.name, policy=policy, schema=task.schema)
