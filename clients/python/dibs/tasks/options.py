"""What one call may change about how it is enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from ..contract.names import QueueName, queue_name
from ..enqueueing.policy import checked_attempts, checked_expires, checked_time_limit
from ..rpc.times import Seconds, to_duration, to_wait
from ..v1 import broker_pb2 as pb

#: What to do when a task of that id is known already: leave it; take its place; raise AlreadyExists; or take its place
#: unless a worker has it, and raise AlreadyExists if one has.
OnConflict: TypeAlias = Literal["keep", "replace", "fail", "replace_unless_running"]

#: As the wire has them.
CONFLICTS: dict[str, pb.OnConflict.ValueType] = {
    "keep": pb.ON_CONFLICT_KEEP,
    "replace": pb.ON_CONFLICT_REPLACE,
    "fail": pb.ON_CONFLICT_FAIL,
    "replace_unless_running": pb.ON_CONFLICT_REPLACE_UNLESS_RUNNING,
}

#: Keyword arguments of `execute` that are not the function's.
INLINE = "execute_inline_now"
OVERRIDES = frozenset(("delay", "taskid", "_queue", "_attempts", INLINE))


@dataclass(frozen=True)
class Options:
    """Options of one call; see `Task.options`."""

    delay: Seconds | None = None
    at: datetime | None = None
    taskid: str | None = None
    queue: QueueName | None = None
    attempts: int | None = None
    on_conflict: OnConflict = "replace_unless_running"
    headers: Mapping[str, str] = field(default_factory=dict)
    time_limit: Seconds | None = None
    expires: Seconds | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.delay is not None and self.at is not None:
            raise ValueError("delay and at do not go together")
        if self.delay is not None:
            to_wait(self.delay, "delay")
        if self.at is not None and self.at.tzinfo is None:
            raise ValueError("at must have a time zone")
        if self.attempts is not None:
            checked_attempts(self.attempts)
        if self.time_limit is not None:
            checked_time_limit(self.time_limit)
        if self.expires is not None:
            checked_expires(self.expires)
        if self.on_conflict not in CONFLICTS:
            raise ValueError(f"on_conflict must be one of {', '.join(CONFLICTS)}, not {self.on_conflict!r}")
        if self.queue is not None:
            queue_name(self.queue)

    def overridden(self, kwargs: dict[str, Any]) -> Options:
        """These options with those among `kwargs` that are overrides of the call, which are taken out."""
        changes: dict[str, Any] = {}
        for keyword, name in (("delay", "delay"), ("taskid", "taskid"), ("_queue", "queue"), ("_attempts", "attempts")):
            value = kwargs.pop(keyword, None)
            if value is not None:
                changes[name] = value
        if "delay" in changes:
            changes["at"] = None
        return replace(self, **changes) if changes else self

    def apply(self, item: pb.EnqueueItem) -> None:
        """Set what they say of the item beside its queue and attempts."""
        if self.delay is not None:
            seconds = to_wait(self.delay, "delay")
            if seconds:
                item.delay.CopyFrom(to_duration(seconds))
        elif self.at is not None:
            item.schedule_time.FromDatetime(self.at)
        if self.time_limit is not None:
            item.policy.run_timeout.CopyFrom(to_duration(checked_time_limit(self.time_limit)))
        if self.expires is not None:
            item.policy.expire_after.CopyFrom(to_duration(checked_expires(self.expires)))
        # An id that was made for the call is new.
        if self.taskid and self.on_conflict != "keep":
            item.on_conflict = CONFLICTS[self.on_conflict]
        for name, value in self.headers.items():
            item.content.headers[name] = value


NO_OPTIONS = Options()
