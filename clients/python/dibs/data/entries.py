"""What `Data.get_data` gives: items and dead letters in the shape that callers know."""

from __future__ import annotations

from typing import Any

from ..contract.headers import LAST_ERROR, attempts_before
from ..errors import PayloadError
from ..rpc.codec import decode_call, decode_value
from ..v1.admin_pb2 import ItemInfo
from ..v1.types_pb2 import Content, Delivery


def task_entry(delivery: Delivery) -> list[Any]:
    """A task: ``[id, task name, args, kwargs, scheduled time]``, the time in seconds since 1970.

    Args that are not a call in JSON come as their bytes.
    """
    content = delivery.content
    return [delivery.id, content.task_name, *_call(content), _seconds(delivery.schedule_time)]


def dead_task_entry(item: ItemInfo) -> list[Any]:
    """A dead task: as `task_entry`, and then how many attempts it had, its last error, and when it died.

    Attempts and errors of before a `Task.retry` count.
    """
    headers = item.content.headers
    return [
        item.id,
        item.content.task_name,
        *_call(item.content),
        _seconds(item.schedule_time),
        item.attempt + attempts_before(headers),
        item.last_error or headers.get(LAST_ERROR, ""),
        _seconds(item.death_time),
    ]


def dead_data_entry(item: ItemInfo) -> list[Any]:
    """A dead data item: ``[id, '', data, extra fields, insert time]``, the time in seconds since 1970."""
    extra = {
        "queue": item.queue,
        "attempts": item.attempt,
        "last_error": item.last_error,
        "time_of_death": _seconds(item.death_time),
    }
    return [item.id, "", decode_value(item.content.payload), extra, _seconds(item.enqueue_time)]


def _call(content: Content) -> tuple[Any, dict[str, Any]]:
    try:
        return decode_call(content.payload)
    except PayloadError:
        return content.payload, {}


def _seconds(time: Any) -> float:
    return float(time.seconds + time.nanos / 1e9)
