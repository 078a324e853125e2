"""Keeps operations to the limits of the broker: one that asks for too much is done in parts.

Parts are made before anything is sent if the limits are known; if they are not, the broker refuses the whole, with
nothing done, and says what it takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any, TypeVar

from ..errors import BrokerError
from .known_limits import KnownLimits, is_too_much, told_limit
from .operations import Operation

T = TypeVar("T")


def divided(operation: Operation[T], limits: KnownLimits) -> Generator[Operation[T], T, T]:
    """Yield an operation, or the parts that it takes; is sent the value of each.

    Raises:
        BrokerError: thrown in, and a smaller part would not help.
    """
    left = deque([operation])
    done = 0
    values: list[T] = []
    while left:
        part = left.popleft()
        if smaller := _parts_within(part, limits):
            left.extendleft(reversed(smaller))
            continue
        asked = part.within(limits.now)
        try:
            values.append((yield asked))
            done += part.entries
        except BrokerError as error:
            limits.hear_refusal(error, asked.size)
            again = _smaller(part, asked, limits, error)
            if not again:
                if done:
                    error.add_note(f"the first {done} of {operation.entries} entries were done")
                raise
            left.extendleft(reversed(again))
    return values[0] if len(values) == 1 else operation.join(values)


def _parts_within(operation: Operation[T], limits: KnownLimits) -> list[Operation[T]]:
    """Parts of what is known to be too much; none if it is not."""
    count, most = operation.entries, limits.batch_items
    if operation.part is None or count < 2:
        return []
    if count > most:
        return [operation.part(at, min(at + most, count)) for at in range(0, count, most)]
    return _halves(operation) if operation.size > limits.now.max_message_bytes else []


def _smaller(
    operation: Operation[T], asked: Operation[T], limits: KnownLimits, error: BrokerError
) -> list[Operation[T]]:
    """What to do instead of an operation that was refused; nothing if there is no use."""
    if is_too_much(error) and operation.part is not None and operation.entries > 1:
        return _parts_within(operation, limits) or _halves(operation)
    # It may have asked for a longer wait, or for more items, than we know by now that it may.
    again: Operation[Any] = operation.within(limits.now)
    return [operation] if told_limit(error) and again.request != asked.request else []


def _halves(operation: Operation[T]) -> list[Operation[T]]:
    assert operation.part is not None
    middle = operation.entries // 2
    return [operation.part(0, middle), operation.part(middle, operation.entries)]
