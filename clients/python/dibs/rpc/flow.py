"""What takes more than one call to the broker, written once for the blocking and the asyncio face.

A flow is a generator: it yields operations, is sent their values, and returns its own. `Dibs` runs it over a
blocking channel, `AsyncDibs` over an asyncio one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
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


def drive(flow: Flow[T], run: Callable[[Operation[Any]], Any], before: Callable[[], object] | None = None) -> T:
    """Run a flow, which learns of every error of its operations.

    Args:
        flow: what to run.
        run: gives the value of one operation.
        before: to be done before the first of them, if there is one.
    """
    try:
        operation = next(flow)
        if before is not None:
            before()
        while True:
            try:
                value = run(operation)
            except Exception as error:  # noqa: BLE001 - the flow decides
                operation = flow.throw(error)
            else:
                operation = flow.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def drive_aio(
    flow: Flow[T], run: Callable[[Operation[Any]], Awaitable[Any]], before: Callable[[], Awaitable[None]] | None = None
) -> T:
    """As `drive`, for asyncio."""
    try:
        operation = next(flow)
        if before is not None:
            await before()
        while True:
            try:
                value = await run(operation)
            except Exception as error:  # noqa: BLE001 - the flow decides
                operation = flow.throw(error)
            else:
                operation = flow.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result


def part_size(error: BrokerError, count: int) -> int:
    """Entries of a part of a request that was too much: as many as the broker says that it takes; else half of them."""
    told = error.metadata.get("value", "") if error.metadata.get("limit") == "max_batch_items" else ""
    return max(1, min(int(told), count - 1)) if told else (count + 1) // 2
