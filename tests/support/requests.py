"""A good request for every method of the broker, and the fields in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import lock_pb2 as lpb
from dibs.v1 import types_pb2 as tpb

TASK = tpb.QUEUE_KIND_TASK
#: Namespace of the good requests.
NAMESPACE = "good"

_POLICY = tpb.DeliveryPolicy(
    attempts=2,
    lease_timeout=Duration(seconds=30),
    retry=tpb.RetryPolicy(initial_delay=Duration(seconds=1), multiplier=2, max_delay=Duration(seconds=9), jitter=0.5),
    use_dead_letter=True,
    dead_letter_queue="dead",
    result_ttl=Duration(seconds=60),
)
_CONTENT = tpb.Content(task_name="task", payload=b"{}", headers={"traceparent": "00"})
_ITEM = pb.EnqueueItem(
    id="a", queue="q", kind=TASK, content=_CONTENT, policy=_POLICY, on_conflict=pb.ON_CONFLICT_REPLACE
)
_ENQUEUE = pb.EnqueueRequest(namespace=NAMESPACE, request_id="r", items=[_ITEM])
_ACK = pb.AckEntry(id="a", lease_token=1, result=b"1")
_NACK = pb.NackEntry(id="a", lease_token=1, reason=pb.NACK_REASON_FAILED, delay=Duration(seconds=1))
_REFRESH = pb.RefreshEntry(id="a", lease_token=1, lease_timeout=Duration(seconds=1))
_STATE = tpb.WorkerState(
    overdue=[tpb.OverdueItem(id="a", task_name="task", overdue=Duration(seconds=1))],
    overdue_count=1,
    silence=Duration(seconds=10),
    running=[tpb.RunningItem(id="a", task_name="task", running=Duration(seconds=3))],
    running_count=1,
)
_SCHEDULE = apb.Schedule(
    name="s", queue="q", content=_CONTENT, policy=_POLICY, cron="0 0 1 1 *", time_zone="Europe/Vienna"
)
_QUEUE: dict[str, Any] = {"namespace": NAMESPACE, "queue": "q", "kind": TASK}

#: Good requests by method; those of a stream one after another.
GOOD: dict[str, Sequence[Message]] = {
    "Enqueue": [_ENQUEUE],
    "EnqueueStream": [pb.EnqueueStreamRequest(request=_ENQUEUE)],
    "Lease": [
        pb.LeaseRequest(
            namespace=NAMESPACE,
            queues=["q"],
            kind=TASK,
            max_items=1,
            attempts=1,
            default_attempts=1,
            default_dead_letter_queue="dead",
            lease_timeout=Duration(seconds=1),
            get_timeout=Duration(nanos=1_000_000),
        )
    ],
    "Work": [
        pb.WorkRequest(
            hello=pb.WorkHello(
                namespace=NAMESPACE,
                queues=["none"],
                kind=TASK,
                worker_id="w",
                task_names=["task"],
                default_attempts=1,
                default_dead_letter_queue="dead",
                lease_timeout=Duration(seconds=1),
            ),
            add_credit=1,
            says_begun=True,
        ),
        pb.WorkRequest(
            sequence=1,
            acks=[_ACK],
            nacks=[_NACK],
            refreshes=[_REFRESH],
            begun=[pb.BegunEntry(id="a", lease_token=1)],
        ),
        pb.WorkRequest(state=_STATE),
        pb.WorkRequest(takes_commands_as="w"),
    ],
    "Refresh": [pb.RefreshRequest(namespace=NAMESPACE, entries=[_REFRESH])],
    "Ack": [pb.AckRequest(namespace=NAMESPACE, entries=[_ACK])],
    "Nack": [pb.NackRequest(namespace=NAMESPACE, entries=[_NACK])],
    "Cancel": [pb.CancelRequest(namespace=NAMESPACE, ids=["a"])],
    "Result": [pb.ResultRequest(namespace=NAMESPACE, ids=["a"], until=pb.WAIT_UNTIL_NOW, timeout=Duration(seconds=1))],
    "ListQueues": [apb.ListQueuesRequest(namespace=NAMESPACE, kind=TASK, names=["q"])],
    "SetPriority": [apb.SetPriorityRequest(**_QUEUE, priority=1)],
    "PauseQueue": [apb.PauseQueueRequest(**_QUEUE)],
    "ResumeQueue": [apb.ResumeQueueRequest(**_QUEUE)],
    "ListItems": [apb.ListItemsRequest(**_QUEUE, section=apb.ITEM_SECTION_READY)],
    "DeleteItems": [apb.DeleteItemsRequest(namespace=NAMESPACE, ids=["a"])],
    "RedriveSetAside": [apb.RedriveSetAsideRequest(**_QUEUE, ids=["a"])],
    "ClearQueue": [apb.ClearQueueRequest(**_QUEUE)],
    "ListDeadLetterQueues": [apb.ListDeadLetterQueuesRequest(namespace=NAMESPACE, kind=TASK)],
    "ListDeadLetters": [apb.ListDeadLettersRequest(**_QUEUE)],
    "TakeDeadLetters": [apb.TakeDeadLettersRequest(**_QUEUE, max_items=1, get_timeout=Duration(nanos=1_000_000))],
    "RedriveDeadLetters": [apb.RedriveDeadLettersRequest(**_QUEUE)],
    "PurgeDeadLetters": [apb.PurgeDeadLettersRequest(**_QUEUE)],
    "Flush": [
        apb.FlushRequest(
            namespace=NAMESPACE, queues=["q"], timeout=Duration(nanos=1_000_000), report_interval=Duration(seconds=1)
        )
    ],
    "RegisterTasks": [
        apb.RegisterTasksRequest(
            namespace=NAMESPACE, tasks=[apb.TaskDefinition(name="task", queue="q", policy=_POLICY, description="what")]
        )
    ],
    "ListTasks": [apb.ListTasksRequest(namespace=NAMESPACE, names=["task"])],
    "PutSchedules": [apb.PutSchedulesRequest(namespace=NAMESPACE, group="g", schedules=[_SCHEDULE])],
    "ListSchedules": [apb.ListSchedulesRequest(namespace=NAMESPACE)],
    "DeleteSchedules": [apb.DeleteSchedulesRequest(namespace=NAMESPACE, names=["s"])],
    "DeleteNamespace": [apb.DeleteNamespaceRequest(namespace="another", force=True)],
    "CommandWorker": [
        apb.CommandWorkerRequest(namespace=NAMESPACE, worker="w", command=tpb.WorkerCommand(processes=2))
    ],
    "ListWorkers": [apb.ListWorkersRequest(namespace=NAMESPACE)],
    "GetServerInfo": [apb.GetServerInfoRequest()],
    "Acquire": [lpb.AcquireRequest(namespace=NAMESPACE, name="l", owner="me", duration=Duration(seconds=1))],
    "RefreshLock": [lpb.RefreshLockRequest(namespace=NAMESPACE, name="l", owner="me", duration=Duration(seconds=1))],
    "Release": [lpb.ReleaseRequest(namespace=NAMESPACE, name="l", owner="me")],
    "ListLocks": [lpb.ListLocksRequest(namespace=NAMESPACE)],
}

#: The methods of the broker by name; no two services share one.
METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for file in (pb, apb, lpb)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass(frozen=True)
class Place:
    """A field of a request.

    Attributes:
        path: how errors call it.
        field: the field.
        steps: the way from the request to the message that has it, names of fields and places in lists.
    """

    path: str
    field: Any
    steps: Sequence[str | int]

    def within(self, request: Message) -> Any:
        """The message that has the field."""
        found: Any = request
        for step in self.steps:
            found = found[step] if isinstance(step, int) else getattr(found, step)
        return found


def places(message: Message, path: str = "", steps: Sequence[str | int] = ()) -> Iterator[Place]:
    """All fields, and those of the messages that are there, but of lists only those of the first entry."""
    for field in message.DESCRIPTOR.fields:
        here = f"{path}.{field.name}" if path else field.name
        yield Place(here, field, steps)
        inside = field.message_type
        if inside is None or inside.GetOptions().map_entry or inside.file.name.startswith("google/"):
            continue
        value = getattr(message, field.name)
        if isinstance(value, Message):
            if message.HasField(field.name):
                yield from places(value, here, (*steps, field.name))
        elif value:
            yield from places(value[0], f"{here}[0]", (*steps, field.name, 0))
