"""Items as administrators see them: lists of them, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dibs.v1 import admin_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..config.limits import Limits
from ..engine.queues import Section
from ..engine.types import Record, State, StoredItem
from . import validation as check
from .bodies import HEAD_BYTES, task_name
from .delivery_policy import delivery_policy
from .enums import KIND_TO_WIRE, STATES, timestamp
from .paging import Page, read_page
from .queues import QueueCall, read_queue
from .result import read_ids
from .stored import read_stored


def item_infos(items: Iterable[StoredItem], *, include_content: bool) -> list[pb.ItemInfo]:
    """Items as an operator sees them."""
    return [_item_info(item, include_content=include_content) for item in items]


def _item_info(item: StoredItem, *, include_content: bool) -> pb.ItemInfo:
    info = pb.ItemInfo(
        id=item.id,
        queue=item.queue,
        kind=KIND_TO_WIRE[item.kind],
        state=STATES[item.state],
        attempt=item.deliveries,
        last_error=item.error,
        cancel_requested=item.cancel_requested,
    )
    if item.record is not None:
        _add_record(info, item.record, include_content=include_content)
    if item.time_us is not None:
        at = info.death_time if item.state is State.DEAD else info.next_time
        at.CopyFrom(timestamp(item.time_us))
    return info


def _add_record(info: pb.ItemInfo, record: Record, *, include_content: bool) -> None:
    info.queue = record.spec.queue
    info.kind = KIND_TO_WIRE[record.spec.kind]
    info.policy.CopyFrom(delivery_policy(record.spec))
    info.enqueue_time.CopyFrom(timestamp(record.enqueued_us))
    info.schedule_time.CopyFrom(timestamp(record.due_us))
    if include_content:
        info.content.CopyFrom(read_stored(tpb.Content, record.body, f"content of item {info.id}") or tpb.Content())
    else:
        info.content.task_name = task_name(record.body).decode(errors="replace")


_SECTIONS: dict[int, Section] = {
    pb.ITEM_SECTION_UNSPECIFIED: Section.READY,
    pb.ITEM_SECTION_READY: Section.READY,
    pb.ITEM_SECTION_DELAYED: Section.DELAYED,
    pb.ITEM_SECTION_LEASED: Section.LEASED,
    pb.ITEM_SECTION_SET_ASIDE: Section.SET_ASIDE,
}
#: Requests that may name items of what they are about.
IdsRequest: TypeAlias = pb.RedriveDeadLettersRequest | pb.PurgeDeadLettersRequest | pb.RedriveSetAsideRequest


@dataclass(frozen=True, slots=True)
class ListItemsCall:
    """A checked ListItemsRequest or ListDeadLettersRequest. `body_bytes`: how much of each body is wanted."""

    queue: QueueCall
    section: Section
    page: Page
    position: int
    body_bytes: int


def read_list_items(request: pb.ListItemsRequest, limits: Limits) -> ListItemsCall:
    """A ListItemsRequest."""
    queue = read_queue(request, limits)
    section = check.choice(request.section, "section", _SECTIONS)
    page = read_page(request)
    return ListItemsCall(queue, section, page, page.position(), wanted_body_bytes(request.include_content, limits))


def wanted_body_bytes(include_content: bool, limits: Limits) -> int:
    """How much of each body is wanted: without the content still the task's name, which stands in front."""
    return 2**53 if include_content else HEAD_BYTES + 4 * limits.max_task_name_length


def read_delete_items(request: pb.DeleteItemsRequest, limits: Limits) -> tuple[str, Sequence[str]]:
    """A DeleteItemsRequest."""
    return check.namespace(request.namespace, limits.max_name_length), read_ids(request.ids, limits)


def read_some_ids(request: IdsRequest, limits: Limits) -> Sequence[str]:
    """Ids of a redrive or a purge; none: all."""
    return read_ids(request.ids, limits) if request.ids else ()
