"""What takes more than one call to the broker, written once for the blocking and the asyncio face.

A flow is a generator: it yields operations, is sent their values, and returns its own. `Dibs` runs it over a
blocking channel, `AsyncDibs` over an asyncio one.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

from ..errors import BrokerError
from .operations import Operation

T = TypeVar("T")
Flow: TypeAlias = Generator[Operation[Any], Any, T]

#: The longest that one request waits; then the next one does. A broker that has fallen silent meanwhile is left so
#: much later, and proxies cut calls that stay silent for long.
LONGEST_WAIT_SECONDS = 8.0


def do(operation: Operation[T]) -> Flow[T]:
    """The flow of one operation."""
    value: T = yield operation
    return value


def part_size(error: BrokerError, count: int) -> int:
    """Entries of a part of a request that was too much: as many as the broker says that it takes; else half of them."""
    told = error.metadata.get("value", "") if error.metadata.get("limit") == "max_batch_items" else ""
    return max(1, min(int(told), count - 1)) if told else (count + 1) // 2
