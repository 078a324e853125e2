"""A client that sends nothing, for tests of what would be sent."""

from __future__ import annotations

from dibs.client import Dibs
from dibs.encoding import ItemForm
from dibs.v1 import broker_pb2 as pb


class RecordingDibs(Dibs):
    """Keeps what it would enqueue.

    Attributes:
        items: the items, in order.
    """

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1")
        self.items: list[pb.EnqueueItem] = []

    def put_now(self, form: ItemForm, payload: bytes, id: str = "") -> str:
        """Keeps the item."""
        self.items += pb.EnqueueRequest.FromString(form.entry(id or "new", payload)).items
        return id or "new"

    @property
    def last(self) -> pb.EnqueueItem:
        """The last item."""
        return self.items[-1]
