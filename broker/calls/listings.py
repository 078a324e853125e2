"""Lists of `AdminService` that take more than one question to the engine."""

from __future__ import annotations

import asyncio
import bisect
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

from dibs.v1 import admin_pb2 as pb

from ..border.caller import scope_of_caller
from ..border.errors import NotFound
from ..config.principals import Role
from ..engine.coalesce import Coalescer
from ..engine.engine import Engine
from ..engine.types import Kind, StoredItem
from ..messages.enums import KIND_TO_WIRE, timestamp
from ..messages.items import ListItemsCall
from ..messages.paging import Page, bad_token
from ..messages.queues import ListQueuesCall, queue_info
from ..messages.rooms import fitting, trim
from ..messages.stored import read_stored
from ..messages.tasks import ListTasksCall
from .granted import page_of_tasks, page_of_workers, queue_of_task

#: Task names that are listed of one worker.
_MAX_LISTED = 1000
#: Seconds that a list of queues is remembered for its next page, its most names, and how many lists there may be.
_LIST_KEPT_S = 10.0
_LONGEST_KEPT = 100_000
_MOST_KEPT = 2
#: Requests that share the reading of a list at most, and places that are put together without a pause.
_MOST_TOGETHER = 1000
_AT_ONCE = 5000

#: Where a queue stands in a list: place of its kind, priority, name.
_Place: TypeAlias = tuple[int, float, str]
#: Of which namespace and kinds a list is.
_Key: TypeAlias = tuple[str, tuple[Kind, ...]]


class QueueLists:
    """The order of queues, remembered from one page of a list to the next: reading and sorting it takes long.

    A page that another broker has begun, or that comes late, finds none and reads it anew.
    """

    def __init__(self) -> None:
        #: By namespace and kinds, with when each was read; the oldest first.
        self._known: dict[_Key, tuple[float, list[_Place]]] = {}
        #: Lists that are being read.
        self._reads: dict[_Key, Coalescer[int, list[_Place]]] = {}

    async def places(self, engine: Engine, call: ListQueuesCall) -> list[_Place]:
        """All queues in the order in which they are served; of a first page as they are now."""
        key = (call.namespace, tuple(call.kinds))
        known = self._known.get(key)
        if known is not None and call.page.cursor and time.monotonic() - known[0] < _LIST_KEPT_S:
            return known[1]
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = Coalescer(partial(self._read, engine, key), _MOST_TOGETHER)
        (places,) = await read.submit((call.page.size,))
        if read.idle:
            self._reads.pop(key, None)
        return places

    async def _read(self, engine: Engine, key: _Key, sizes: list[int]) -> list[list[_Place]]:
        """Read a list for all who have asked before it begins, with the sizes of their pages."""
        namespace, kinds = key
        places: list[_Place] = []
        for at, kind in enumerate(kinds):
            names = await engine.queues.names(namespace, kind)
            for first in range(0, len(names), _AT_ONCE):
                places += [(at, priority, name) for priority, name in names[first : first + _AT_ONCE]]
                await asyncio.sleep(0)
        self._known.pop(key, None)
        for oldest in list(self._known)[: len(self._known) - _MOST_KEPT + 1]:
            del self._known[oldest]
        if min(sizes) < len(places) <= _LONGEST_KEPT:
            self._known[key] = time.monotonic(), places
            asyncio.get_running_loop().call_later(_LIST_KEPT_S, self._known.pop, key, None)
        return [places] * len(sizes)


async def _named(engine: Engine, call: ListQueuesCall) -> list[_Place]:
    """The queues that a request names, in the order in which they are served."""
    places = []
    unknown = dict.fromkeys(call.names)
    for at, kind in enumerate(call.kinds):
        for counts in await engine.queues.describe(call.namespace, kind, call.names):
            if counts is not None:
                places.append((at, math.inf if counts.priority is None else counts.priority, counts.name))
                unknown.pop(counts.name, None)
    for name in unknown:
        raise NotFound("queue", name)
    return sorted(places)


async def list_queues(engine: Engine, lists: QueueLists, call: ListQueuesCall) -> pb.ListQueuesResponse:
    """A page of queues in the order in which they are served."""
    known = await _named(engine, call) if call.names else await lists.places(engine, call)
    seen = scope_of_caller(call.namespace, Role.READ)
    if not seen.everything:
        known = [place for place in known if place[2] in seen]
    after = _queue_cursor(call.page)
    left = known if after is None else known[bisect.bisect_right(known, after) :]
    found = left[: call.page.size]
    infos: list[pb.QueueInfo] = []
    for at, kind in enumerate(call.kinds):
        names = [name for kind_at, _, name in found if kind_at == at]
        for counts in await engine.queues.describe(call.namespace, kind, names):
            # One may have been deleted meanwhile.
            if counts is not None:
                infos.append(queue_info(kind, counts))
                trim(infos[-1], engine.config.reply_bytes, "parked_tasks")
    shown = fitting(infos, engine.config.reply_bytes)
    response = pb.ListQueuesResponse(queues=shown)
    if len(shown) < len(infos):
        kinds = [KIND_TO_WIRE[kind] for kind in call.kinds]
        found = found[: 1 + max(at for at, place in enumerate(found) if _names(place, shown[-1], kinds))]
    if len(left) > len(found):
        at, priority, name = found[-1]
        response.next_page_token = call.page.token(f"{at} {priority!r} {name}")
    return response


def _names(place: _Place, info: pb.QueueInfo, kinds: Sequence[int]) -> bool:
    return kinds[place[0]] == info.kind and place[2] == info.name


def _queue_cursor(page: Page) -> _Place | None:
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
        room=engine.config.reply_bytes,
        item_bytes=engine.config.item_bytes,
    )
    if not page.known:
        raise NotFound("queue", queue.queue)
    return page.items, "" if page.position is None else call.page.token(str(page.position))


async def list_tasks(engine: Engine, call: ListTasksCall) -> pb.ListTasksResponse:
    """A page of registered tasks, by name."""
    page = call.page
    if call.names:
        left = [name for name in call.names if name > page.cursor]
        names = left[: page.size]
        tasks = await engine.tasks.get(call.namespace, names) if names else []
        last = names[-1] if len(left) > len(names) else ""
        seen = scope_of_caller(call.namespace, Role.READ, Role.PRODUCE)
        tasks = [task for task in tasks if seen.everything or queue_of_task(task) in seen]
    else:
        tasks, last = await page_of_tasks(engine, call.namespace, page)
    counts = await engine.workers.count(call.namespace, [task.name for task in tasks])
    found = []
    for task, workers in zip(tasks, counts, strict=True):
        definition = read_stored(pb.TaskDefinition, task.definition, f"definition of task {task.name}")
        definition = definition or pb.TaskDefinition()
        definition.name = task.name
        found.append(pb.TaskInfo(definition=definition, register_time=timestamp(task.registered_us), workers=workers))
    shown = fitting(found, engine.config.reply_bytes)
    if len(shown) < len(found):
        last = shown[-1].definition.name
    return pb.ListTasksResponse(tasks=shown, next_page_token=page.token(last))


async def list_workers(engine: Engine, namespace: str, page: Page) -> pb.ListWorkersResponse:
    """A page of connected workers, by name."""
    workers, last = await page_of_workers(engine, namespace, page)
    tasks = {
        skills: await engine.workers.tasks_of(namespace, skills, _MAX_LISTED)
        for skills in {worker.skills for worker in workers}
    }
    found = []
    for worker in workers:
        info = read_stored(pb.WorkerInfo, worker.info, f"report of worker {worker.name}")
        info = info or pb.WorkerInfo()
        info.worker_id = info.worker_id or worker.name.rpartition(" ")[0]
        info.task_names.extend(tasks[worker.skills])
        info.seen_time.CopyFrom(timestamp(worker.seen_us))
        trim(info, engine.config.reply_bytes, "task_names", "queues")
        found.append(info)
    shown = fitting(found, engine.config.reply_bytes)
    if len(shown) < len(found):
        last = workers[len(shown) - 1].name
    return pb.ListWorkersResponse(workers=shown, next_page_token=page.token(last))
