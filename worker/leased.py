"""A delivery as the running task sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibs.context import RunningTask
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

if TYPE_CHECKING:
    from .outbox import Outbox

_MAX_LEASE_S = 30 * 24 * 3600


class LeasedTask(RunningTask):
    """A `RunningTask` that reads what it is asked for from the delivery, when it is asked.

    Most tasks never look at themselves, and reading all fields would cost more than running a small one.
    """

    __slots__ = ("_outbox", "delivery")

    def __init__(
        self, delivery: tpb.Delivery, name: str, args: list[Any], kwargs: dict[str, Any], outbox: Outbox
    ) -> None:
        self.delivery = delivery
        self.name = name
        self.args = args
        self.kwargs = kwargs
        self.cancelled = False
        self._outbox = outbox

    def __getattr__(self, attribute: str) -> Any:
        """Fills a field of the base class on its first use."""
        delivery = self.delivery
        value: Any
        if attribute == "taskid":
            value = delivery.id
        elif attribute == "queue":
            value = delivery.queue
        elif attribute == "attempt":
            value = delivery.attempt
        elif attribute == "attempts":
            value = delivery.attempts
        elif attribute == "last_error":
            value = delivery.last_error
        elif attribute == "headers":
            value = dict(delivery.content.headers)
        else:
            raise AttributeError(attribute)
        setattr(self, attribute, value)
        return value

    def refresh(self, lease_timeout: float | None = None) -> None:
        """Asks the broker for more time: the lease of this delivery runs anew from when it gets there.

        Costs next to nothing and does not wait. Does nothing for a task that is delivered at most once.

        Args:
            lease_timeout: length in seconds, 0.001 to 2,592,000 (30 days). Default: the length it had.

        Raises:
            ValueError: the length is out of range.
        """
        token = self.delivery.lease_token
        if lease_timeout is not None and not 0.001 <= lease_timeout <= _MAX_LEASE_S:
            raise ValueError(f"a lease lasts 0.001 to {_MAX_LEASE_S} seconds, not {lease_timeout!r}")
        if not token or not lease_seconds(self.delivery):
            return
        entry = pb.RefreshEntry(id=self.delivery.id, lease_token=token)
        if lease_timeout is not None:
            entry.lease_timeout.FromMicroseconds(round(lease_timeout * 1_000_000))
        self._outbox.refresh(entry)


def lease_seconds(delivery: tpb.Delivery) -> float:
    """Length of the lease in seconds; 0: at most once."""
    length = delivery.lease_timeout
    return length.seconds + length.nanos / 1e9
