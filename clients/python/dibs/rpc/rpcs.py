"""The methods of the services that this package calls; each is named here and nowhere else.

The stream of single calls alone, which sends bytes instead of messages, has a stub of its own (`enqueueing/stream.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..v1.admin_pb2_grpc import AdminServiceStub
from ..v1.broker_pb2_grpc import BrokerServiceStub
from ..v1.lock_pb2_grpc import LockServiceStub


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of one gRPC service.

    Attributes:
        stub: the generated stub class of the service.
        name: name of the method.
        streams: whether the reply is a stream.
        single: whether that stream has one message at most, so that a break after it changes nothing.
    """

    stub: Callable[[Any], Any]
    name: str
    streams: bool = False
    single: bool = False


ENQUEUE = Rpc(BrokerServiceStub, "Enqueue")
LEASE = Rpc(BrokerServiceStub, "Lease", streams=True, single=True)
WORK = Rpc(BrokerServiceStub, "Work", streams=True)
ACK = Rpc(BrokerServiceStub, "Ack")
NACK = Rpc(BrokerServiceStub, "Nack")
REFRESH = Rpc(BrokerServiceStub, "Refresh")
CANCEL = Rpc(BrokerServiceStub, "Cancel")
RESULT = Rpc(BrokerServiceStub, "Result")

LIST_QUEUES = Rpc(AdminServiceStub, "ListQueues")
SET_PRIORITY = Rpc(AdminServiceStub, "SetPriority")
PAUSE_QUEUE = Rpc(AdminServiceStub, "PauseQueue")
RESUME_QUEUE = Rpc(AdminServiceStub, "ResumeQueue")
LIST_ITEMS = Rpc(AdminServiceStub, "ListItems")
DELETE_ITEMS = Rpc(AdminServiceStub, "DeleteItems")
REDRIVE_SET_ASIDE = Rpc(AdminServiceStub, "RedriveSetAside")
CLEAR_QUEUE = Rpc(AdminServiceStub, "ClearQueue", streams=True)
LIST_DEAD_LETTER_QUEUES = Rpc(AdminServiceStub, "ListDeadLetterQueues")
LIST_DEAD_LETTERS = Rpc(AdminServiceStub, "ListDeadLetters")
TAKE_DEAD_LETTERS = Rpc(AdminServiceStub, "TakeDeadLetters")
REDRIVE_DEAD_LETTERS = Rpc(AdminServiceStub, "RedriveDeadLetters", streams=True)
PURGE_DEAD_LETTERS = Rpc(AdminServiceStub, "PurgeDeadLetters", streams=True)
FLUSH = Rpc(AdminServiceStub, "Flush", streams=True)
REGISTER_TASKS = Rpc(AdminServiceStub, "RegisterTasks")
LIST_TASKS = Rpc(AdminServiceStub, "ListTasks")
PUT_SCHEDULES = Rpc(AdminServiceStub, "PutSchedules")
LIST_SCHEDULES = Rpc(AdminServiceStub, "ListSchedules")
DELETE_SCHEDULES = Rpc(AdminServiceStub, "DeleteSchedules")
DELETE_NAMESPACE = Rpc(AdminServiceStub, "DeleteNamespace", streams=True)
COMMAND_WORKER = Rpc(AdminServiceStub, "CommandWorker")
LIST_WORKERS = Rpc(AdminServiceStub, "ListWorkers")
GET_SERVER_INFO = Rpc(AdminServiceStub, "GetServerInfo")

ACQUIRE = Rpc(LockServiceStub, "Acquire")
REFRESH_LOCK = Rpc(LockServiceStub, "RefreshLock")
RELEASE = Rpc(LockServiceStub, "Release")
LIST_LOCKS = Rpc(LockServiceStub, "ListLocks")
