"""The kinds of items that a run puts in, and what must become of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from dibs.v1 import types_pb2 as tpb

#: Queues: those of tasks are worked by the workers, each of the others by consumers of its own.
TASKS, DATA, SLOW_DATA = "tasks", "data", "slow-data"
FOLLOWED_DATA, CLIENT_DATA, STREAMED_DATA = "followed-data", "client-data", "streamed-data"
#: How long results are kept: longer than any run takes.
KEPT_S = 1800.0
#: Crashes that an item may cause, where nothing else is said.
MAX_CRASHES = 3


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of item.

    Attributes:
        name: its name; of a task that of the task, too.
        queue: where it goes.
        attempts: deliveries that it may have.
        lease_s: length of a lease in seconds; 0: at most once.
        use_dead: whether it becomes a dead letter.
        kept: whether its result and state are kept, so that the end of every item can be looked up.
        delay_s: it must not come before this has passed.
        retry_s: wait after a failed attempt; None: what is left of the lease.
        failures: attempts in which the task raises.
        crashes: the task kills its process, each time.
        padding: bytes that its payload has for nothing.
        uncounted: deliveries that need not count, whatever happens.
    """

    name: str
    queue: str
    attempts: int = 1
    lease_s: float = 0.0
    use_dead: bool = False
    kept: bool = False
    delay_s: float = 0.0
    retry_s: float | None = None
    failures: int = 0
    crashes: bool = False
    padding: int = 0
    uncounted: int = 0

    @property
    def once(self) -> bool:
        """Whether it is delivered at most once."""
        return self.lease_s == 0

    @property
    def is_task(self) -> bool:
        """Whether a worker runs it."""
        return self.queue == TASKS

    @property
    def queue_kind(self) -> tpb.QueueKind.ValueType:
        """Kind of its queue."""
        return tpb.QUEUE_KIND_TASK if self.is_task else tpb.QUEUE_KIND_DATA

    @property
    def policy(self) -> tpb.DeliveryPolicy:
        """The same for a bare stub."""
        policy = tpb.DeliveryPolicy(attempts=self.attempts, use_dead_letter=self.use_dead)
        policy.lease_timeout.CopyFrom(duration(self.lease_s))
        if self.kept:
            policy.result_ttl.CopyFrom(duration(KEPT_S))
        if self.retry_s is not None:
            policy.retry.initial_delay.CopyFrom(duration(self.retry_s))
        return policy


ONCE = Kind(name="once", queue=TASKS)
ONCE_KEPT = Kind(name="once-kept", queue=TASKS, kept=True)
SURE = Kind(name="sure", queue=TASKS, lease_s=3, kept=True)
THRICE = Kind(name="thrice", queue=TASKS, attempts=3, lease_s=3, use_dead=True, kept=True)
FLAKY = Kind(name="flaky", queue=TASKS, attempts=3, lease_s=3, kept=True, retry_s=0.2, failures=2)
HOPELESS = Kind(name="hopeless", queue=TASKS, attempts=2, lease_s=3, use_dead=True, kept=True, retry_s=0.1, failures=9)
LATER = Kind(name="later", queue=TASKS, attempts=3, lease_s=3, kept=True, delay_s=0.8)
FORKING = Kind(name="forking", queue=TASKS, attempts=3, lease_s=6, kept=True)
POISON = Kind(name="poison", queue=TASKS, attempts=10, lease_s=3, use_dead=True, kept=True, retry_s=0.2, crashes=True)
DATA_ONCE = Kind(name="data-once", queue=DATA)
DATA_SURE = Kind(name="data-sure", queue=DATA, lease_s=2, kept=True)
DATA_THRICE = Kind(name="data-thrice", queue=DATA, attempts=3, lease_s=2, use_dead=True, kept=True)
#: A batch of a following lease counts as received once a later one was written. So the last one of a stream does not
#: count, and a connection that breaks may use attempts up that nobody saw. There are enough of them.
DATA_FOLLOWED = Kind(name="data-followed", queue=FOLLOWED_DATA, attempts=50, lease_s=2, kept=True, uncounted=50)
DATA_CLIENT = Kind(name="data-client", queue=CLIENT_DATA, attempts=3, lease_s=2, use_dead=True)
DATA_STREAMED = Kind(name="data-streamed", queue=STREAMED_DATA, attempts=3, lease_s=2, use_dead=True, kept=True)
#: What a reader that does not read is sent comes back: attempts enough that none of it dies.
DATA_SLOW = Kind(name="data-slow", queue=SLOW_DATA, attempts=50, lease_s=3, kept=True, padding=8_000)

KINDS = {
    kind.name: kind
    for kind in (
        ONCE, ONCE_KEPT, SURE, THRICE, FLAKY, HOPELESS, LATER, FORKING, POISON,
        DATA_ONCE, DATA_SURE, DATA_THRICE, DATA_FOLLOWED, DATA_CLIENT, DATA_STREAMED, DATA_SLOW,
    )
}  # fmt: skip
#: What producers choose from all the time; the others come with their faults.
COMMON_TASKS = (ONCE, ONCE_KEPT, SURE, SURE, THRICE, THRICE, FLAKY, HOPELESS, LATER)
COMMON_DATA = (DATA_ONCE, DATA_SURE, DATA_THRICE, DATA_FOLLOWED, DATA_STREAMED)


def duration(seconds: float) -> Duration:
    """Seconds as the wire says them."""
    value = Duration()
    value.FromTimedelta(timedelta(seconds=seconds))
    return value
