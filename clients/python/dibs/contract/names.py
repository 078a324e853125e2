"""Names of queues, and of the namespace that is meant where none is named."""

from __future__ import annotations

import re
from typing import TypeAlias

#: Name of a queue, as text or as ASCII bytes.
QueueName: TypeAlias = str | bytes

#: The namespace of requests that name none.
DEFAULT_NAMESPACE = "default"

#: The queue of tasks that name none.
DEFAULT_QUEUE = "default"

#: The dead-letter queue of items that ask for one without naming it.
DEADLETTER_QUEUE = "DEADLETTER_QUEUE"

#: What names of queues and namespaces are made of.
NAME = re.compile(r"[A-Za-z0-9_./@-]+")


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


def possible_queue_name(queue: QueueName) -> str:
    """The name as text, if a queue can have it. How long it may be is a setting of the broker.

    Raises:
        TypeError: it is neither text nor bytes.
        ValueError: it is empty, or has characters that names of queues do not have.
    """
    name = queue_name(queue)
    if NAME.fullmatch(name) is None:
        raise ValueError(f"the name of a queue has characters of [A-Za-z0-9_./@-] only, not {name!r}")
    return name
