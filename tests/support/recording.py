"""A client that sends nothing, for tests of what would be sent."""

from __future__ import annotations

from typing import TypeVar

from dibs.client.dibs import Dibs
from dibs.rpc.encoding import ItemForm
from dibs.rpc.flow import Flow
from dibs.rpc.placed import Placed
from dibs.v1 import broker_pb2 as pb

T = TypeVar("T")


class RecordingDibs(Dibs):
    """Keeps what it would enqueue.

    Attributes:
        items: the items, in order.
    """

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1")
        self.items: list[pb.EnqueueItem] = []

    def put_now(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """Keeps the item."""
        self.items += pb.EnqueueRequest.FromString(form.entry(id or "new", payload)).items
        return Placed(id or "new")

    def run(self, flow: Flow[T]) -> T:
        """Answers as a broker that knows nothing: every list is empty."""
        try:
            next(flow)
            while True:
                flow.send(((), ""))
        except StopIteration as stop:
            result: T = stop.value
            return result

    @property
    def last(self) -> pb.EnqueueItem:
        """The last item."""
        return self.items[-1]
