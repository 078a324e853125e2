"""Tasks and workers: registering and listing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dibs.v1 import admin_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..border.errors import InvalidField
from ..config.limits import Limits
from ..engine.engine import MAX_BATCH
from . import validation as check
from .delivery_policy import delivery_spec
from .paging import Page, read_page

#: Characters of a task's description; what is longer is cut off.
MAX_DESCRIPTION_LENGTH = 1000
#: Task processes that a worker may be told to have.
_MOST_PROCESSES = 1_000


@dataclass(frozen=True, slots=True)
class ListTasksCall:
    """A checked ListTasksRequest."""

    namespace: str
    names: Sequence[str]
    page: Page


def read_register_tasks(request: pb.RegisterTasksRequest, limits: Limits) -> tuple[str, list[tuple[str, bytes]]]:
    """A RegisterTasksRequest: namespace, names and definitions."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.tasks), "tasks", limits.batch_items)
    tasks = []
    for at, task in enumerate(request.tasks):
        try:
            tasks.append((task.name, _definition(task, limits)))
        except InvalidField as error:
            raise error.under(f"tasks[{at}]") from None
    return namespace, tasks


def _definition(task: pb.TaskDefinition, limits: Limits) -> bytes:
    check.task_name(task.name, "name", limits.max_task_name_length)
    # Only checked: calls name their own.
    delivery_spec(task.queue, tpb.QUEUE_KIND_TASK, task.policy.SerializeToString(), limits)
    size = len(task.schema.encode())
    if size > limits.max_schema_bytes:
        told = ("max_schema_bytes", limits.max_schema_bytes)
        raise InvalidField("schema", f"has {size} bytes, must have at most {limits.max_schema_bytes}", told)
    definition = pb.TaskDefinition()
    definition.CopyFrom(task)
    definition.description = task.description[:MAX_DESCRIPTION_LENGTH]
    return definition.SerializeToString()


def read_list_tasks(request: pb.ListTasksRequest, limits: Limits) -> ListTasksCall:
    """A ListTasksRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    if len(request.names) > MAX_BATCH:
        raise InvalidField("names", f"has {len(request.names)} entries, must have at most {MAX_BATCH}")
    for at, name in enumerate(request.names):
        check.task_name(name, f"names[{at}]", limits.max_task_name_length)
    return ListTasksCall(namespace, sorted(set(request.names)), read_page(request))


@dataclass(frozen=True, slots=True)
class Command:
    """A checked CommandWorkerRequest. `content`: the command, as brokers pass it on."""

    namespace: str
    worker: str
    content: bytes


def read_command(request: pb.CommandWorkerRequest, limits: Limits) -> Command:
    """A CommandWorkerRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    worker = check.text(request.worker, "worker", 256)
    chosen = request.command.WhichOneof("command")
    if chosen is None or (chosen == "stop" and not request.command.stop):
        raise InvalidField("command", "must be stop: true, or a number of processes")
    if chosen == "processes":
        check.integer(request.command.processes, "command.processes", 1, _MOST_PROCESSES)
    return Command(namespace, worker, request.command.SerializeToString())


def read_list_workers(request: pb.ListWorkersRequest, limits: Limits) -> tuple[str, Page]:
    """A ListWorkersRequest."""
    return check.namespace(request.namespace, limits.max_name_length), read_page(request)
