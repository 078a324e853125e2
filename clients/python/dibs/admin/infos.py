"""What `Admin` tells: queues, items, tasks, schedules, workers, locks and the broker as plain values.

Times are in UTC and on Redis's clock; None stands for a time that there is not. A queue `is_data`, or else it is one of
tasks. Numbers are those of the moment at which the broker answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from ..codecs.sealing import Sealing
from ..contract.limits import Limits
from ..enqueueing.policy import Policy
from ..rpc.codec import decode_call, decode_json
from ..tasks.schedules import Cron, Every
from ..tasks.states import State

#: Which of a queue's items: those that can be leased, in the order in which they will be; those that wait for their
#: time; those that are leased; those that no delivery can carry.
Section: TypeAlias = Literal["ready", "delayed", "leased", "set-aside"]


@dataclass(frozen=True)
class ParkedTask:
    """Calls of one task that wait for a worker which knows the task.

    Attributes:
        name: of the task.
        items: how many calls.
        workers: connected workers that know it.
    """

    name: str
    items: int
    workers: int


@dataclass(frozen=True)
class QueueInfo:
    """One queue and what is in it.

    Attributes:
        name: its name.
        is_data: whether it is a queue of data.
        ready: items that can be leased now.
        delayed: items that wait for their time: delayed, or between two attempts.
        leased: items that workers and consumers have, begun or not.
        dead: items that came from it and stand in a dead-letter queue.
        set_aside: items that no delivery can carry; not counted elsewhere.
        seen: items ever put in.
        finished: items that ever ended well.
        priority: lower numbers are served first; None: after all that have one.
        paused: whether deliveries are stopped.
        oldest_ready_time: when the first ready item was enqueued.
        parked_tasks: tasks whose calls wait because a worker that asked for work does not know them; at most 20.
    """

    name: str
    is_data: bool
    ready: int
    delayed: int
    leased: int
    dead: int
    set_aside: int
    seen: int
    finished: int
    priority: float | None
    paused: bool
    oldest_ready_time: datetime | None
    parked_tasks: Sequence[ParkedTask]


@dataclass(frozen=True)
class ItemInfo:
    """One item as an operator sees it. Of one that cannot be read little more than its id and `last_error` is told.

    Attributes:
        id: its id.
        queue: the queue that it is in, or came from.
        is_data: whether that is a queue of data.
        state: where it is in its life.
        task_name: the task that it calls; empty: it is data.
        payload: its content as bytes; empty unless it was asked for. See `call` and `data`.
        headers: its headers; empty unless the content was asked for.
        attempt: deliveries so far.
        policy: how it is delivered.
        last_error: the error of its last failed attempt; of one that is set aside: why.
        enqueue_time: when it was enqueued.
        schedule_time: when it was due.
        next_time: when it will be due, if it is delayed; when its lease runs out, if it is leased.
        death_time: when it died, if it is dead; when it was set aside, if it is.
        cancel_requested: whether it was cancelled while it runs.
        sealing: what decodes the content.
    """

    id: str
    queue: str
    is_data: bool
    state: State
    task_name: str
    payload: bytes
    headers: Mapping[str, str]
    attempt: int
    policy: Policy
    last_error: str
    enqueue_time: datetime | None
    schedule_time: datetime | None
    next_time: datetime | None
    death_time: datetime | None
    cancel_requested: bool
    sealing: Sealing | None = field(default=None, repr=False, compare=False)

    def call(self) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a task's call, by place and by name.

        Raises:
            PayloadError: the content was not asked for, or is no call: data, or put by another kind of client.
            CodecError: it cannot be decoded here.
        """
        return decode_call(self._plain())

    def data(self) -> Any:
        """The value of a data item.

        Raises:
            PayloadError: the content was not asked for, or is not JSON.
            CodecError: it cannot be decoded here.
        """
        return decode_json(self._plain())

    def _plain(self) -> bytes:
        if self.sealing is None or not self.payload:
            return self.payload
        return self.sealing.open_payload(self.id, self.task_name, self.payload)


@dataclass(frozen=True)
class DeadLetterQueueInfo:
    """One dead-letter queue.

    Attributes:
        name: its name.
        is_data: whether its items came from queues of data.
        size: items in it.
        oldest_death_time: when the oldest of them died.
    """

    name: str
    is_data: bool
    size: int
    oldest_death_time: datetime | None


@dataclass(frozen=True)
class Cleared:
    """What has become of a queue that was cleared, or of a namespace that was deleted.

    Attributes:
        removed: items that were removed; of a namespace, keys in Redis.
        deleted: whether the queue is gone, too; whether the namespace is.
    """

    removed: int
    deleted: bool


@dataclass(frozen=True)
class FlushProgress:
    """How far a flush is.

    Attributes:
        done: tasks that have come far enough.
        started: tasks that have started and are not done.
        waiting: tasks that have not started.
    """

    done: int
    started: int
    waiting: int


@dataclass(frozen=True)
class Flushed:
    """How far the tasks have come that a flush has waited for, by their ids.

    Attributes:
        done: far enough: started, or done if that was asked for.
        started: started, when waiting until they are done.
        waiting: not started; none, unless the time was up.
    """

    done: Sequence[str]
    started: Sequence[str]
    waiting: Sequence[str]


@dataclass(frozen=True)
class TaskInfo:
    """A task that a worker has registered, as programs without its code need it.

    Attributes:
        name: its name.
        queue: the queue of its calls.
        policy: how they are delivered.
        description: what it does, for people.
        register_time: when it was registered last.
        workers: workers that are connected now and run it.
        schema: what it takes, as the text of a JSON Schema; empty: not known.
    """

    name: str
    queue: str
    policy: Policy
    description: str
    register_time: datetime | None
    workers: int
    schema: str


class ScheduleState(StrEnum):
    """How a schedule stands."""

    #: Its time has not come.
    PLANNED = "PLANNED"
    #: Its run is in its queue and has not started.
    PENDING = "PENDING"
    #: It is due, but no connected worker knows its task.
    NO_WORKER = "NO_WORKER"
    #: This broker cannot read it, and it does not run until one can.
    UNREADABLE = "UNREADABLE"
    #: A newer broker says something else.
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class ScheduleInfo:
    """A schedule and how it stands.

    Attributes:
        name: its name.
        group: what it belongs to, such as the module of a worker.
        task_name: the task that it runs.
        payload: the arguments of its runs, as bytes.
        queue: the queue of its runs.
        policy: how they are delivered.
        when: when it runs; None: it cannot be read.
        state: how it stands.
        due_time: its next due time, or that of the pending run.
        last_start_time: when its last run was handed to a worker.
        run_id: id of the run that is pending, or was handed out last; empty: there is none.
        runs: runs so far.
    """

    name: str
    group: str
    task_name: str
    payload: bytes
    queue: str
    policy: Policy
    when: Every | Cron | None
    state: ScheduleState
    due_time: datetime | None
    last_start_time: datetime | None
    run_id: str
    runs: int


@dataclass(frozen=True)
class OverdueItem:
    """An item that a worker runs although its lease is over: somebody else may have it by now.

    Attributes:
        id: its id.
        task_name: its task.
        overdue: for how long the lease has been over.
    """

    id: str
    task_name: str
    overdue: timedelta


@dataclass(frozen=True)
class RunningItem:
    """An item that runs.

    Attributes:
        id: its id.
        task_name: its task.
        running: for how long, to a second.
    """

    id: str
    task_name: str
    running: timedelta


@dataclass(frozen=True)
class WorkerInfo:
    """A worker that is connected to a broker.

    Attributes:
        worker_id: what it calls itself.
        is_data: whether it serves queues of data.
        queues: the queues that it serves; empty: all.
        task_names: tasks that it can run; at most 1,000 are told.
        broker_id: the broker that it is connected to.
        connect_time: when it connected.
        seen_time: when its broker saw it last.
        credit: items that it asked for and has not got.
        delivered: items sent to it on this connection.
        acked: items that it finished on this connection.
        nacked: items that it gave back on this connection.
        overdue: items that it runs although their lease is over, the longest first; at most 20 are told.
        overdue_count: how many there are.
        silence: for how long the process that runs its tasks has given no sign of life; None: it gives some.
        running: items that it has run for about a second or more, the longest first; at most 20 are told.
        running_count: how many there are.
        worker: the worker that this stream is a part of, for `stop_worker`; empty: it takes no commands.
    """

    worker_id: str
    is_data: bool
    queues: Sequence[str]
    task_names: Sequence[str]
    broker_id: str
    connect_time: datetime | None
    seen_time: datetime | None
    credit: int
    delivered: int
    acked: int
    nacked: int
    overdue: Sequence[OverdueItem]
    overdue_count: int
    silence: timedelta | None
    running: Sequence[RunningItem]
    running_count: int
    worker: str


@dataclass(frozen=True)
class LockInfo:
    """A lock that is held.

    Attributes:
        name: its name.
        owner: who holds it.
        expire_time: until when.
    """

    name: str
    owner: str
    expire_time: datetime | None


@dataclass(frozen=True)
class Advice:
    """Something that should be changed.

    Attributes:
        reason: for programs, such as ``REDIS_WITHOUT_AOF``.
        text: a sentence for people.
    """

    reason: str
    text: str


@dataclass(frozen=True)
class QuotaUse:
    """How much of one thing there is in a namespace.

    Attributes:
        quota: what: items, bytes, queues, schedules, locks or tasks.
        used: how much there is; None: nobody counts it, or not all of it is counted yet.
        limit: how much there may be; None: as much as there is room for.
    """

    quota: str
    used: int | None
    limit: int | None


@dataclass(frozen=True)
class ServerInfo:
    """A broker, as it sees itself.

    Attributes:
        version: its version.
        broker_id: its name: host, process id and start.
        start_time: when it started.
        redis_ready: whether its Redis answers. If not, nothing is known of that.
        redis_version: such as ``redis 7.0.15``.
        redis_latency: how long Redis took to answer.
        redis_time: Redis's clock.
        redis_memory_bytes: memory that Redis uses.
        redis_max_memory_bytes: memory that it may use; 0: no limit of its own.
        settings: all settings of the broker but secrets, as they are written.
        advices: what should be changed.
        namespaces: namespaces in use; at most 1,000 are told.
        limits: what the broker takes at most.
        tls_expire_time: when the certificate at its ports expires; None: they speak plaintext.
        tls_client_ca_expire_time: when the last of the authorities expires that it knows certificates of clients by;
            None: it knows none.
        quotas: how full the namespace of the connection is; empty: an earlier broker cannot tell, or these credentials
            may not see it.
    """

    version: str
    broker_id: str
    start_time: datetime | None
    redis_ready: bool
    redis_version: str
    redis_latency: timedelta
    redis_time: datetime | None
    redis_memory_bytes: int
    redis_max_memory_bytes: int
    settings: Mapping[str, str]
    advices: Sequence[Advice]
    namespaces: Sequence[str]
    limits: Limits
    tls_expire_time: datetime | None
    tls_client_ca_expire_time: datetime | None
    quotas: Sequence[QuotaUse] = ()
