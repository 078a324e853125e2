"""The calls about dead letters, answered by a broker in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message

from ...v1 import admin_pb2 as pb
from ...v1 import types_pb2 as tpb
from .items import Item, Items, page
from .refusals import not_found


class DeadLetters:
    """Answers them.

    Args:
        items: where dead letters stand.

    Attributes:
        answers: by the names of the methods.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self.answers: dict[str, Callable[[Any], Message | Sequence[Message]]] = {
            "ListDeadLetterQueues": self._queues,
            "ListDeadLetters": self._list,
            "TakeDeadLetters": self._take,
            "RedriveDeadLetters": self._redrive,
            "PurgeDeadLetters": self._purge,
        }

    def _queues(self, request: pb.ListDeadLetterQueuesRequest) -> Message:
        found: dict[tuple[tpb.QueueKind.ValueType, str], list[float]] = {}
        for item in self._items:
            if item.died is not None and request.kind in (tpb.QUEUE_KIND_UNSPECIFIED, item.kind):
                found.setdefault((item.kind, item.dead_queue), []).append(item.died)
        response = pb.ListDeadLetterQueuesResponse()
        for (kind, name), deaths in sorted(found.items()):
            info = response.queues.add(name=name, kind=kind, size=len(deaths))
            info.oldest_death_time.FromNanoseconds(round(min(deaths) * 1e9))
        return response

    def _list(self, request: pb.ListDeadLettersRequest) -> Message:
        items, token = page(self._items.dead(request.kind, request.queue), request.page_size, request.page_token)
        infos = [self._items.info(one, include_content=request.include_content) for one in items]
        return pb.ListDeadLettersResponse(items=infos, next_page_token=token)

    def _take(self, request: pb.TakeDeadLettersRequest) -> Message:
        wanted = request.max_items or (0 if request.received_request_id and not request.request_id else 1)
        items = self._items.dead(request.kind, request.queue)[:wanted]
        response = pb.TakeDeadLettersResponse(items=[self._items.info(one, include_content=True) for one in items])
        self._items.take(items)
        return response

    def _redrive(self, request: pb.RedriveDeadLettersRequest) -> Sequence[Message]:
        return [pb.RedriveDeadLettersResponse(redriven=self._items.redrive(self._chosen(request)))]

    def _purge(self, request: pb.PurgeDeadLettersRequest) -> Sequence[Message]:
        items = self._chosen(request)
        self._items.take(items)
        return [pb.PurgeDeadLettersResponse(purged=len(items))]

    def _chosen(self, request: pb.RedriveDeadLettersRequest | pb.PurgeDeadLettersRequest) -> list[Item]:
        found = self._items.dead(request.kind, request.queue)
        if not request.ids:
            return found
        by_id = {item.id: item for item in found}
        for id in request.ids:
            if id not in by_id:
                raise not_found(f"there is no dead letter {id}")
        return [by_id[id] for id in request.ids]
