"""What code under test has enqueued, in a form that tests compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ..codecs.sealing import Sealing
from ..contract.headers import of_users
from ..rpc.codec import decode_call, encode_call
from ..tasks.task import BaseTask
from ..v1 import broker_pb2 as pb


@dataclass(frozen=True)
class Call:
    """A call of a task that was enqueued. Calls are equal if task, args and kwargs are.

    Attributes:
        task: name of the task.
        args: its positional arguments, as they come out of JSON.
        kwargs: its keyword arguments, likewise.
        id: id of the call.
        queue: queue that it was put into.
        delay: how much later it is to start; None: at once, or at a time.
        headers: passed along to the task.
    """

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    id: str = field(default="", compare=False)
    queue: str = field(default="", compare=False)
    delay: timedelta | None = field(default=None, compare=False)
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        """As one would write it."""
        words = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.task}({', '.join(words)})"


def call(task: BaseTask[..., Any] | str, /, *args: Any, **kwargs: Any) -> Call:
    """The call of a task with these arguments, to compare what was enqueued with.

    Args:
        task: the task, or its name.
        args: positional arguments; a tuple is equal to the list that JSON makes of it.
        kwargs: keyword arguments.

    Raises:
        PayloadError: the arguments cannot be written as JSON.
        TypeError: the task does not take them.

    Example::

        assert dibs_recorded.calls == [call(send, "a@example.org", subject="hi")]
    """
    if isinstance(task, str):
        return Call(task, *decode_call(encode_call(args, kwargs)))
    return Call(task.name, *decode_call(task.definition.write(args, kwargs)))


def call_of(item: pb.EnqueueItem, sealing: Sealing | None) -> Call:
    """The call that an item is.

    Args:
        item: it.
        sealing: decodes its arguments; None: they are plain.
    """
    content = item.content
    payload = content.payload if sealing is None else sealing.open_payload(item.id, content.task_name, content.payload)
    args, kwargs = decode_call(payload)
    delay = item.delay.ToTimedelta() if item.HasField("delay") else None
    return Call(content.task_name, args, kwargs, item.id, item.queue, delay, of_users(content.headers))
