"""What became of calls that were enqueued."""

from __future__ import annotations

from ..v1 import broker_pb2 as pb


class Placed:
    """An item that was given to a broker, or to a batch that will give it to one.

    Attributes:
        id: its id.
        created: whether it is there as it was given, new or in the place of another of its id. False: another of its id
            was there, and stays. None: not known, or not yet.
    """

    __slots__ = ("created", "id")

    def __init__(self, id: str) -> None:
        self.id = id
        self.created: bool | None = None

    def heard(self, item: pb.EnqueuedItem) -> Placed:
        """Note what the broker says of it."""
        self.created = item.outcome in (pb.ENQUEUE_OUTCOME_CREATED, pb.ENQUEUE_OUTCOME_REPLACED)
        return self
