"""Lists of `AdminService` that take more than one question to the engine."""

from __future__ import annotations

from dibs.v1 import admin_pb2 as pb

from .admin_replies import queue_info
from .admin_requests import ListItemsCall, ListQueuesCall
from .engine.engine import MAX_LEASE_BYTES, Engine
from .engine.types import StoredItem
from .errors import NotFound
from .paging import Page, bad_token


async def list_queues(engine: Engine, call: ListQueuesCall) -> pb.ListQueuesResponse:
    """A page of queues in the order in which they are served."""
    wanted = set(call.names)
    known = [
        (at, priority, name)
        for at, kind in enumerate(call.kinds)
        for priority, name in await engine.queues.names(call.namespace, kind)
        if not wanted or name in wanted
    ]
    for name in wanted.difference(name for _, _, name in known):
        raise NotFound("queue", name)
    after = _queue_cursor(call.page)
    left = [place for place in known if after is None or place > after]
    found = left[: call.page.size]
    response = pb.ListQueuesResponse()
    for at, kind in enumerate(call.kinds):
        names = [name for kind_at, _, name in found if kind_at == at]
        for counts in await engine.queues.describe(call.namespace, kind, names):
            # One may have been deleted meanwhile.
            if counts is not None:
                response.queues.append(queue_info(kind, counts))
    if len(left) > len(found):
        at, priority, name = found[-1]
        response.next_page_token = call.page.token(f"{at} {priority!r} {name}")
    return response


def _queue_cursor(page: Page) -> tuple[int, float, str] | None:
    if not page.cursor:
        return None
    try:
        at, priority, name = page.cursor.split(" ")
        place = int(at), float(priority), name
    except ValueError:
        raise bad_token() from None
    return place


async def list_items(engine: Engine, call: ListItemsCall) -> tuple[list[StoredItem], str]:
    """A page of items and the token of the next."""
    queue = call.queue
    page = await engine.queues.items(
        queue.namespace,
        queue.kind,
        queue.queue,
        call.section,
        call.page.size,
        position=call.position,
        body_bytes=call.body_bytes,
        room=MAX_LEASE_BYTES,
    )
    if not page.known:
        raise NotFound("queue", queue.queue)
    return page.items, "" if page.position is None else call.page.token(str(page.position))
