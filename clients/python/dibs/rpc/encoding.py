"""Items as bytes, ready to stand in an EnqueueRequest.

A program that enqueues many items spends most of its time on making messages. What is the same for all calls of a
task is therefore encoded once, and an item is put together from parts, in a quarter of the time that the message
classes take; see `wire`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ..contract import sealed
from ..contract.headers import CODEC
from ..contract.wire import SMALL, VARINTS, field, tag, varint
from ..v1 import broker_pb2 as pb
from ..v1 import types_pb2 as tpb
from .ids import new_id

if TYPE_CHECKING:
    from ..codecs.sealing import Sealing

_ITEMS = tag(pb.EnqueueRequest.DESCRIPTOR, "items")
_REQUEST = tag(pb.EnqueueStreamRequest.DESCRIPTOR, "request")
_ID = tag(pb.EnqueueItem.DESCRIPTOR, "id")
_CONTENT = tag(pb.EnqueueItem.DESCRIPTOR, "content")
_PAYLOAD = tag(tpb.Content.DESCRIPTOR, "payload")


class ItemForm:
    """What items have in common; makes each from its id and payload.

    Args:
        item: an item without id and payload.
    """

    __slots__ = ("_content", "_rest", "_task_name", "queue")

    def __init__(self, item: pb.EnqueueItem) -> None:
        self.queue = item.queue
        self._task_name = item.content.task_name
        self._content = item.content.SerializeToString() + _PAYLOAD
        rest = pb.EnqueueItem()
        rest.CopyFrom(item)
        rest.ClearField("content")
        self._rest = rest.SerializeToString()

    def entry(self, id: str, payload: bytes, header: bytes = b"") -> bytes:
        """One item as it stands in the bytes of an EnqueueRequest; entries are simply joined.

        Args:
            id: its id.
            payload: its payload.
            header: a header of its own, encoded as a field of a Content.
        """
        length = len(payload)
        content = b"%b%b%b%b" % (header, self._content, VARINTS[length] if length < SMALL else varint(length), payload)
        length = len(content)
        name = id.encode()
        item = b"%b%b%b%b%b%b%b" % (
            _ID,
            VARINTS[len(name)] if len(name) < SMALL else varint(len(name)),
            name,
            self._rest,
            _CONTENT,
            VARINTS[length] if length < SMALL else varint(length),
            content,
        )
        return field(_ITEMS, item)

    def sealed_entry(self, id: str, payload: bytes, sealing: Sealing) -> bytes:
        """As `entry`, with a payload that codecs encode, and a header that says so.

        Raises:
            PayloadError: a codec refused it.
        """
        made = sealing.seal_payload(id, self._task_name, payload)
        found = sealed.unseal(made)
        return self.entry(id, made, b"" if found is None else _codec_header(found[0]))


@lru_cache(maxsize=64)
def _codec_header(steps: str) -> bytes:
    return tpb.Content(headers={CODEC: steps}).SerializeToString()


@lru_cache(maxsize=4096)
def task_form(queue: str, name: str, policy: bytes) -> ItemForm:
    """The form of the calls of one task in one queue; `policy` is an encoded DeliveryPolicy."""
    item = pb.EnqueueItem(queue=queue, kind=tpb.QUEUE_KIND_TASK, content=tpb.Content(task_name=name))
    item.policy.MergeFromString(policy)
    return ItemForm(item)


def chunks(entries: Sequence[bytes], most_items: int, most_bytes: int) -> Iterator[Sequence[bytes]]:
    """Entries as they go into requests, in order: so many, and so many bytes, but one at least."""
    start = size = 0
    for at, entry in enumerate(entries):
        size += len(entry)
        if at > start and (size > most_bytes or at - start == most_items):
            yield entries[start:at]
            start, size = at, len(entry)
    if entries:
        yield entries[start:]


class EncodedRequest:
    """An EnqueueRequest, put together from bytes; made a message only where one is needed.

    Args:
        namespace: namespace of the items.
        entries: the items, each as `ItemForm.entry` makes it.
    """

    __slots__ = ("data",)

    def __init__(self, namespace: str, entries: Iterable[bytes]) -> None:
        head = pb.EnqueueRequest(namespace=namespace, request_id=new_id())
        self.data = b"".join((head.SerializeToString(), *entries))

    @classmethod
    def of(cls, message: pb.EnqueueRequest) -> EncodedRequest:
        """That message."""
        request = cls.__new__(cls)
        request.data = message.SerializeToString()
        return request

    def message(self) -> pb.EnqueueRequest:
        """The message."""
        return pb.EnqueueRequest.FromString(self.data)

    def in_stream(self) -> bytes:
        """An EnqueueStreamRequest of it."""
        return field(_REQUEST, self.data)
