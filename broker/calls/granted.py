"""Pages of lists for those who may see some queues only: as if there were nothing else.

Neither the length of a page nor its token, nor that there is another page, tells of what one may not see.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from dibs.v1 import admin_pb2 as pb

from ..border.caller import scope_of_caller
from ..config.principals import Role
from ..engine.engine import Engine
from ..engine.schedules import StoredSchedule
from ..engine.tasks import RegisteredTask
from ..engine.workers import ConnectedWorker
from ..messages.paging import Page
from ..messages.stored import read_stored

_T = TypeVar("_T")


async def page_of_tasks(engine: Engine, namespace: str, page: Page) -> tuple[list[RegisteredTask], str]:
    """Tasks that the caller may see, and the name after which to go on ("" the end)."""
    seen = scope_of_caller(namespace, Role.READ, Role.PRODUCE)
    if seen.everything:
        return await engine.tasks.page(namespace, page.size, page.cursor)
    return await _granted_page(
        lambda wanted, after: engine.tasks.page(namespace, wanted, after),
        page.size,
        page.cursor,
        may_see=lambda task: queue_of_task(task) in seen,
        name_of=lambda task: task.name,
        size_of=lambda task: len(task.definition),
        room=engine.config.reply_bytes,
    )


def queue_of_task(task: RegisteredTask) -> str:
    """The queue of a task's calls; "": it cannot be told."""
    definition = read_stored(pb.TaskDefinition, task.definition, f"definition of task {task.name}")
    return definition.queue if definition else ""


async def page_of_schedules(engine: Engine, namespace: str, page: Page) -> tuple[list[StoredSchedule], str]:
    """Schedules that the caller may see, and the name after which to go on ("" the end)."""
    room = engine.config.reply_bytes
    seen = scope_of_caller(namespace, Role.READ)
    if seen.everything:
        return await engine.schedules.page(namespace, page.size, room, page.cursor)
    return await _granted_page(
        lambda wanted, after: engine.schedules.page(namespace, wanted, room, after),
        page.size,
        page.cursor,
        may_see=lambda one: one.spec is not None and one.spec.queue in seen,
        name_of=lambda one: one.name,
        size_of=lambda one: len(one.definition) + len(one.body),
        room=room,
    )


async def page_of_workers(engine: Engine, namespace: str, page: Page) -> tuple[list[ConnectedWorker], str]:
    """Workers that the caller may see, those all of whose queues it may, and the name after which to go on."""
    seen = scope_of_caller(namespace, Role.READ)
    if seen.everything:
        return await engine.workers.page(namespace, page.size, page.cursor)

    def may_see(worker: ConnectedWorker) -> bool:
        info = read_stored(pb.WorkerInfo, worker.info, f"report of worker {worker.name}")
        # One that names none serves all.
        return info is not None and bool(info.queues) and all(queue in seen for queue in info.queues)

    return await _granted_page(
        lambda wanted, after: engine.workers.page(namespace, wanted, after),
        page.size,
        page.cursor,
        may_see=may_see,
        name_of=lambda worker: worker.name,
        size_of=lambda worker: len(worker.info),
        room=engine.config.reply_bytes,
    )


async def _granted_page(
    read: Callable[[int, str], Awaitable[tuple[Sequence[_T], str]]],
    wanted: int,
    after: str,
    *,
    may_see: Callable[[_T], bool],
    name_of: Callable[[_T], str],
    size_of: Callable[[_T], int],
    room: int,
) -> tuple[list[_T], str]:
    """A page of what the caller may see, and the name after which to go on ("" the end).

    Args:
        read: so many entries behind a name, and the name after which to go on.
        wanted: entries.
        after: the name behind which to begin.
        may_see: whether the caller may see an entry.
        name_of: the name of an entry; lists are in the order of names.
        size_of: about its bytes.
        room: bytes of all of them together; the first may have more.
    """
    found: list[_T] = []
    size = 0
    while True:
        # Until there is one too many: only that tells whether there is another page.
        some, after = await read(wanted, after)
        for entry in filter(may_see, some):
            size += size_of(entry)
            if found and (len(found) == wanted or size > room):
                return found, name_of(found[-1])
            found.append(entry)
        if not after:
            return found, ""
