"""Which calls may be made again after a lost reply: the table that the retries of this package keep to.

"Yes" means that a second call changes nothing that the first has not changed, or answers as the first did. What is
handed out for good, or done once more with every call, is not repeated unless the request has an id that makes it so.
gRPC's own retries are switched off (see `connection`), so that nothing repeats a call but `retry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf.message import Message


def _always(_: Any) -> bool:
    return True


def _never(_: Any) -> bool:
    return False


#: Whether each call, with a given request, may be made again.
_TABLE: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        # Remembered under its request_id, with its reply.
        "Enqueue": lambda request: bool(request.request_id),
        # Carried by streams, which say again what was not confirmed: their users look after that.
        "EnqueueStream": _never,
        "Work": _never,
        # Leases other items. What the lost reply carried is not handed out twice: it comes back, or it is gone.
        "Lease": _always,
        # By id and lease token: the second time there is nothing left to do, which counts as done.
        "Ack": _always,
        "Nack": _always,
        "Refresh": _always,
        "Cancel": _always,
        "Result": _always,
        "ListQueues": _always,
        "SetPriority": _always,
        "PauseQueue": _always,
        "ResumeQueue": _always,
        "ListItems": _always,
        "DeleteItems": _always,
        # Both remove what is there while the call lasts, however often they are asked meanwhile. Letters that are named
        # are not there the second time.
        "ClearQueue": _always,
        "PurgeDeadLetters": lambda request: not request.ids,
        "ListDeadLetterQueues": _always,
        "ListDeadLetters": _always,
        # Hands out for good, but the same again to the same id; or it only says that something has arrived.
        "TakeDeadLetters": lambda request: (
            bool(request.request_id) or (bool(request.received_request_id) and not request.max_items)
        ),
        # Gives all attempts back: one that died again meanwhile would get them twice.
        "RedriveDeadLetters": _never,
        # Those named are no longer set aside the second time; without names it goes on with the rest.
        "RedriveSetAside": lambda request: not request.ids,
        # Runs every schedule once more with each call.
        "Flush": lambda request: not request.force_delayed,
        "RegisterTasks": _always,
        "ListTasks": _always,
        "PutSchedules": _always,
        "ListSchedules": _always,
        "DeleteSchedules": _always,
        "ListWorkers": _always,
        # What a worker has done already it need not do again.
        "CommandWorker": _always,
        # Removes what is there while the call lasts.
        "DeleteNamespace": _always,
        "GetServerInfo": _always,
        # By owner: who holds it takes it again.
        "Acquire": _always,
        "RefreshLock": _always,
        "Release": _always,
        "ListLocks": _always,
    }
)


def is_repeatable(method: str, request: Message) -> bool:
    """Whether a call with that request may be made again after a lost reply.

    Args:
        method: name of the method.
        request: of that method.
    """
    return _TABLE[method](request)


def methods() -> frozenset[str]:
    """The methods that the table knows."""
    return frozenset(_TABLE)
