"""What `Data.get_data` gives: items and dead letters in the shape that callers know.

Whoever reads them says how: `Reading` decodes, and raises `CodecError` for what cannot be decoded here, or has a
`Sealed` stand in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ..codecs.sealing import Sealed, Sealing
from ..contract.headers import LAST_ERROR, attempts_before
from ..errors import CodecError, PayloadError
from ..rpc.codec import decode_call, decode_value
from ..v1.admin_pb2 import ItemInfo
from ..v1.types_pb2 import Delivery
from .batch import PUT_OFF

_log = logging.getLogger("dibs")


class Reading:
    """From the bytes of items to what callers get.

    Args:
        namespace: of the items.
        sealing: what decodes them; None: they are plain.
        strict: raise for what cannot be decoded here. Otherwise a `Sealed` stands in its place.
    """

    __slots__ = ("_namespace", "_sealing", "_strict")

    def __init__(self, namespace: str, sealing: Sealing | None, *, strict: bool) -> None:
        self._namespace = namespace
        self._sealing = sealing
        self._strict = strict

    def data(self, item: Delivery | ItemInfo) -> Any:
        """The value of a data item.

        Raises:
            CodecError: it cannot be decoded here.
        """
        try:
            return decode_value(self._payload(item))
        except CodecError as error:
            return self._sealed(item, error)

    def call(self, item: Delivery | ItemInfo) -> tuple[Any, dict[str, Any]]:
        """The arguments of a task; what is no call in JSON comes as its bytes.

        Raises:
            CodecError: they cannot be decoded here.
        """
        try:
            return decode_call(self._payload(item))
        except CodecError as error:
            return self._sealed(item, error), {}
        except PayloadError:
            return item.content.payload, {}

    def _payload(self, item: Delivery | ItemInfo) -> bytes:
        content = item.content
        sealing = self._sealing
        return content.payload if sealing is None else sealing.open_payload(item.id, content.task_name, content.payload)

    def _sealed(self, item: Delivery | ItemInfo, error: CodecError) -> Sealed:
        if self._strict:
            raise error
        return Sealed(self._namespace, item.id, item.content.task_name, item.content.payload, error)


def read_leased(value: Callable[[Delivery], Any], deliveries: Iterable[Delivery]) -> tuple[dict[str, Any], list[str]]:
    """What was leased, by id, and the ids of what cannot be decoded here: it goes back for others to read.

    Args:
        value: makes the value of a delivery, or raises CodecError.
        deliveries: what was leased.
    """
    entries: dict[str, Any] = {}
    problems: dict[str, CodecError] = {}
    for delivery in deliveries:
        try:
            entries[delivery.id] = value(delivery)
        except CodecError as error:
            problems[delivery.id] = error
    if problems:
        id, problem = next(iter(problems.items()))
        _log.error(
            "%d leased items cannot be read here and go back for %g s, such as %s: %s",
            len(problems),
            PUT_OFF.total_seconds(),
            id,
            problem,
        )
    return entries, list(problems)


def data_entry(reading: Reading, delivery: Delivery) -> Any:
    """A data item: its value."""
    return reading.data(delivery)


def task_entry(reading: Reading, delivery: Delivery) -> list[Any]:
    """A task: ``[id, task name, args, kwargs, scheduled time]``, the time in seconds since 1970.

    Args that are not a call in JSON come as their bytes.
    """
    return [delivery.id, delivery.content.task_name, *reading.call(delivery), _seconds(delivery.schedule_time)]


def dead_task_entry(reading: Reading, item: ItemInfo) -> list[Any]:
    """A dead task: as `task_entry`, and then how many attempts it had, its last error, and when it died.

    Attempts and errors of before a `Task.retry` count.
    """
    headers = item.content.headers
    return [
        item.id,
        item.content.task_name,
        *reading.call(item),
        _seconds(item.schedule_time),
        item.attempt + attempts_before(headers),
        item.last_error or headers.get(LAST_ERROR, ""),
        _seconds(item.death_time),
    ]


def dead_data_entry(reading: Reading, item: ItemInfo) -> list[Any]:
    """A dead data item: ``[id, '', data, extra fields, insert time]``, the time in seconds since 1970."""
    extra = {
        "queue": item.queue,
        "attempts": item.attempt,
        "last_error": item.last_error,
        "time_of_death": _seconds(item.death_time),
    }
    return [item.id, "", reading.data(item), extra, _seconds(item.enqueue_time)]


def _seconds(time: Any) -> float:
    return float(time.seconds + time.nanos / 1e9)
