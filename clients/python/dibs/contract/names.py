"""Names of queues, and of the namespace that is meant where none is named."""

from __future__ import annotations

from typing import TypeAlias

#: Name of a queue, as text or as ASCII bytes.
QueueName: TypeAlias = str | bytes

#: The namespace of requests that name none.
DEFAULT_NAMESPACE = "default"

#: The queue of tasks that name none.
DEFAULT_QUEUE = "default"

#: The dead-letter queue of items that ask for one without naming it.
DEADLETTER_QUEUE = "DEADLETTER_QUEUE"


def queue_name(queue: QueueName) -> str:
    """The name as text. Which names are allowed is the broker's rule.

    Raises:
        TypeError: it is neither text nor bytes.
    """
    if isinstance(queue, bytes):
        return queue.decode()
    if not isinstance(queue, str):
        raise TypeError(f"the name of a queue is str or bytes, not {type(queue).__name__}")
    return queue
