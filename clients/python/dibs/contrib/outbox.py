"""An outbox: calls are kept in a table of your own database, in your own transaction, and go to a broker afterwards.

What a transaction commits and what it enqueues then come about together or not at all, whatever crashes in between.
Here is what every kind of database has in common; see `dibs.contrib.sqlalchemy` and `dibs.contrib.django`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from ..client.dibs import Dibs
from ..codecs.sealing import Sealing
from ..enqueueing.flows import enqueue, enqueue_one
from ..errors import InvalidArgument
from ..rpc.connection import Connection
from ..rpc.encoding import EncodedRequest, ItemForm, chunks
from ..rpc.flow import Flow
from ..rpc.ids import new_id
from ..rpc.placed import Placed
from ..rpc.transport import Transport
from ..tasks.definition import Definition
from ..tasks.options import NO_OPTIONS, Options
from ..tasks.registry import Registry
from ..tasks.task import BaseTask, Binds, Task
from ..v1 import broker_pb2 as pb

T = TypeVar("T")

#: Calls that one request carries, and bytes.
MOST_CALLS = 500
MOST_BYTES = 1024 * 1024


class Kept(NamedTuple):
    """A call as a table keeps it.

    Attributes:
        id: of the call; also that of its row.
        item: the call, encoded.
    """

    id: str
    item: bytes


class StandIn(Binds):
    """Takes the place of an instance for tasks that are `on` it: it enqueues nothing, but hands on what is to be.

    Args:
        dibs: the instance.
    """

    def __init__(self, dibs: Dibs) -> None:
        self._dibs = dibs
        self.registry: Registry[BaseTask[..., Any]] = dibs.registry
        self.plain = dibs.plain

    def keep(self, call: Kept, queue: str) -> None:
        """Take a call that is to be enqueued later."""
        raise NotImplementedError

    @property
    def connection(self) -> Connection:
        """Of the instance."""
        return self._dibs.connection

    @property
    def namespace(self) -> str:
        """Of the instance."""
        return self._dibs.namespace

    @property
    def sealing(self) -> Sealing | None:
        """Of the instance."""
        return self._dibs.sealing

    @property
    def transport(self) -> Transport:
        """Of the instance."""
        return self._dibs.transport

    def run(self, flow: Flow[T]) -> T:
        """Run it on the instance: what handles ask is asked there."""
        return self._dibs.run(flow)

    def put(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """Hand on an item. It is encoded here, so that a codec's keys are needed here only, and errors are raised here.

        Raises:
            PayloadError: a codec refused it.
        """
        placed = Placed(id or new_id())
        sealing = self.sealing
        made = form.entry(placed.id, payload) if sealing is None else form.sealed_entry(placed.id, payload, sealing)
        self.keep(Kept(placed.id, made), form.queue)
        return placed

    def put_now(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """As `put`: there is no batch."""
        return self.put(form, payload, id)

    def bind(self, definition: Definition, options: Options = NO_OPTIONS) -> Task[..., Any]:
        """A task whose calls are handed on."""
        return Task(definition, self, options)


def send(dibs: Dibs, calls: Sequence[Kept]) -> dict[str, str]:
    """Enqueue calls that were kept.

    One that was enqueued before, by whoever crashed before it had noted so, changes nothing for as long as its item is
    known: unless it was given an id of its own with `on_conflict`, what is there stays.

    Args:
        dibs: where.
        calls: any number of them.

    Returns:
        Ids of calls that will never be taken, and why, such as a payload that is too large.

    Raises:
        BrokerError: no broker took them now; some may have been enqueued, and the same calls can be sent again.
    """
    refused: dict[str, str] = {}
    by_item = {call.item: call.id for call in calls}
    for part in chunks([call.item for call in calls], MOST_CALLS, MOST_BYTES):
        taken: set[str] = set()

        def heard(items: Sequence[pb.EnqueuedItem], taken: set[str] = taken) -> None:
            taken.update(item.id for item in items)

        dibs.run(enqueue(EncodedRequest(dibs.namespace, part).message(), heard=heard))
        for item in part:
            id = by_item[item]
            if id not in taken:
                # Once more, alone: that tells what is wrong with this one.
                try:
                    dibs.run(enqueue_one(dibs.namespace, item, Placed(id)))
                except InvalidArgument as error:
                    refused[id] = str(error)
    return refused
