"""What is written down twice about running the queues agrees: faces, methods of the contract, fields of messages."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

import dibs
from dibs.admin import infos
from dibs.rpc import rpcs
from dibs.rpc.connection import Connection, ConnectionSettings
from dibs.v1 import admin_pb2, broker_pb2, lock_pb2, types_pb2

CLIENT = Path(dibs.__path__[0])
METHODS = [name for name in vars(dibs.Admin) if not name.startswith("_")]

#: Fields that have another name in Python, or are told by something else.
RENAMED: dict[str, dict[str, str]] = {
    "QueueInfo": {"kind": "is_data", "done": "finished"},
    "ItemInfo": {"kind": "is_data"},
    "DeadLetterQueueInfo": {"kind": "is_data"},
    "TaskInfo": {"definition": "name"},
    "ScheduleInfo": {"schedule": "when"},
    "WorkerInfo": {"kind": "is_data", "takes_commands_as": "worker"},
    "ParkedTask": {"task_name": "name"},
}
#: Messages whose fields are those of the one that holds them.
UNFOLDED = {"Content", "TaskDefinition", "Schedule", "WorkerState"}


@pytest.mark.parametrize("name", METHODS)
def test_both_faces_take_the_same(name: str) -> None:
    blocking, awaited = (inspect.signature(getattr(face, name)) for face in (dibs.Admin, dibs.AsyncAdmin))
    assert blocking.parameters == awaited.parameters
    assert str(blocking.return_annotation).replace("Iterator[", "AsyncIterator[") == awaited.return_annotation


def test_both_faces_have_the_same_methods() -> None:
    assert [name for name in vars(dibs.AsyncAdmin) if not name.startswith("_")] == METHODS
    assert len(METHODS) > 20


def test_each_method_of_the_contract_is_named_once() -> None:
    services = {
        broker_pb2.DESCRIPTOR.services_by_name["BrokerService"],
        admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
        lock_pb2.DESCRIPTOR.services_by_name["LockService"],
    }
    known = [value.name for value in vars(rpcs).values() if isinstance(value, rpcs.Rpc)]
    # The stream of single calls has a stub of its own.
    assert sorted([*known, "EnqueueStream"]) == sorted(method.name for one in services for method in one.methods)


def test_methods_are_named_nowhere_else() -> None:
    makers = [
        str(path.relative_to(CLIENT))
        for path in CLIENT.rglob("*.py")
        if not path.is_relative_to(CLIENT / "v1")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rpc"
    ]
    # Besides the stream that sends bytes there is the health service, which is not of the contract.
    assert set(makers) == {"rpc/rpcs.py", "enqueueing/stream.py", "rpc/asking.py"}
    assert (makers.count("enqueueing/stream.py"), makers.count("rpc/asking.py")) == (1, 1)


@pytest.mark.parametrize(
    "message",
    [
        admin_pb2.QueueInfo,
        admin_pb2.ParkedTask,
        admin_pb2.ItemInfo,
        admin_pb2.DeadLetterQueueInfo,
        admin_pb2.TaskInfo,
        admin_pb2.ScheduleInfo,
        admin_pb2.WorkerInfo,
        types_pb2.OverdueItem,
        types_pb2.RunningItem,
        admin_pb2.Advice,
        admin_pb2.GetServerInfoResponse,
        lock_pb2.LockInfo,
    ],
    ids=lambda message: message.DESCRIPTOR.name,
)
def test_every_field_of_a_message_is_told(message: Any) -> None:
    name = message.DESCRIPTOR.name
    told = {field.name for field in dataclasses.fields(getattr(infos, name, infos.ServerInfo))}
    renamed = RENAMED.get(name, {})

    def is_told(field: FieldDescriptor) -> bool:
        return bool(told & {renamed.get(field.name, field.name), *_in(field)})

    assert [field.name for field in message.DESCRIPTOR.fields if not is_told(field)] == []


def _in(field: FieldDescriptor) -> set[str]:
    """Fields of a message that is told as part of the one that holds it."""
    inner = field.message_type
    return {one.name for one in inner.fields} if inner is not None and inner.name in UNFOLDED else set()


def test_every_value_of_the_state_of_a_schedule_has_a_name() -> None:
    values = {name.removeprefix("SCHEDULE_STATE_") for name in admin_pb2.ScheduleState.keys()}  # noqa: SIM118
    assert values - {"UNSPECIFIED"} == {state.value for state in infos.ScheduleState} - {"UNKNOWN"}


def test_the_arguments_of_a_connection_are_listed_as_they_are_read() -> None:
    read = inspect.signature(Connection.build).parameters
    assert set(ConnectionSettings.__annotations__) == set(read) - {"target", "namespace", "environ"}


@pytest.mark.parametrize("value", ["x", None])
def test_an_argument_that_there_is_not_is_refused(value: str | None) -> None:
    wrong: Any = {"tokn": value}
    for make in (dibs.Dibs, dibs.AsyncDibs, dibs.connect):
        with pytest.raises(TypeError, match="tokn"):
            make(**wrong)
    with pytest.raises(TypeError, match="wrong"):
        dibs.AsyncDibs("127.0.0.1:1").Data("q", wrong=1)  # type: ignore[call-arg]
