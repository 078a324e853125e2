"""`AsyncAdmin`: the same as `Admin`, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..codecs.sealing import Sealing
from ..contract.names import DEADLETTER_QUEUE, DEFAULT_QUEUE, QueueName
from ..enqueueing.policy import Delivery
from ..rpc.known_limits import KnownLimits
from ..rpc.pages import NamedPages, Pages
from ..rpc.runner import AsyncRunner
from ..rpc.tally import OnProgress
from ..rpc.times import Seconds
from ..tasks.schedules import Cron, Every
from .base import DEFAULT_GROUP, BaseAdmin, OnFlush
from .infos import (
    Cleared,
    DeadLetterQueueInfo,
    Flushed,
    ItemInfo,
    LockInfo,
    QueueInfo,
    ScheduleInfo,
    Section,
    ServerInfo,
    TaskInfo,
    WorkerInfo,
)

if TYPE_CHECKING:
    from typing import Unpack

M = TypeVar("M")
T = TypeVar("T")


class AsyncAdmin(BaseAdmin):
    """An `Admin` for asyncio: the same names, to be awaited; lists for an ``async for``. Of `AsyncDibs.admin`.

    Args:
        of: the `AsyncDibs` whose connection to use.

    Raises:
        TypeError: `of` is something else, such as a `Dibs`, which has an `admin` of its own.

    Example::

        async with AsyncDibs("queue.example.org:7411") as adibs:
            async for queue in adibs.admin.queues():
                print(queue.name, queue.ready)
            await adibs.admin.pause_queue("mail")
    """

    def __init__(self, *, of: AsyncRunner) -> None:
        super().__init__()
        if not isinstance(of, AsyncRunner):
            raise TypeError(f"an AsyncAdmin goes with an AsyncDibs, not with {of!r:.200}; a Dibs has its own")
        self._dibs = of

    def __repr__(self) -> str:
        """Whose it is."""
        return f"<AsyncAdmin of {self._dibs!r}>"

    @property
    def _namespace(self) -> str:
        return self._dibs.namespace

    @property
    def _sealing(self) -> Sealing | None:
        return self._dibs.sealing

    @property
    def _limits(self) -> KnownLimits:
        return self._dibs.transport.limits

    async def _each(self, pages: Pages[M] | NamedPages[M], view: Callable[[M], T]) -> AsyncIterator[T]:
        while (page := await self._dibs.run(pages.next())) is not None:
            for entry in page:
                yield view(entry)

    # Queues

    def queues(
        self, names: Iterable[QueueName] | None = None, *, is_data: bool | None = None
    ) -> AsyncIterator[QueueInfo]:
        """As `Admin.queues`, for an ``async for``."""
        return self._each(*self._queues(names, is_data))

    async def queue(self, queue: QueueName, *, is_data: bool = False) -> QueueInfo:
        """As `Admin.queue`."""
        return await self._dibs.run(self._queue(queue, is_data))

    async def set_priority(self, queue: QueueName, priority: float | None, *, is_data: bool = False) -> None:
        """As `Admin.set_priority`."""
        await self._dibs.run(self._set_priority(queue, priority, is_data))

    async def pause_queue(self, queue: QueueName, *, is_data: bool = False) -> bool:
        """As `Admin.pause_queue`."""
        return await self._dibs.run(self._pause_queue(queue, is_data))

    async def resume_queue(self, queue: QueueName, *, is_data: bool = False) -> bool:
        """As `Admin.resume_queue`."""
        return await self._dibs.run(self._resume_queue(queue, is_data))

    async def clear_queue(
        self, queue: QueueName, *, delete: bool = False, is_data: bool = False, on_progress: OnProgress | None = None
    ) -> Cleared:
        """As `Admin.clear_queue`."""
        return await self._dibs.run(self._clear_queue(queue, delete, is_data, on_progress))

    # Items

    def items(
        self, queue: QueueName, section: Section = "ready", *, include_content: bool = False, is_data: bool = False
    ) -> AsyncIterator[ItemInfo]:
        """As `Admin.items`, for an ``async for``."""
        return self._each(*self._items(queue, section, include_content, is_data))

    async def delete_items(self, ids: Iterable[str]) -> list[str]:
        """As `Admin.delete_items`."""
        return await self._dibs.run(self._delete_items(ids))

    async def redrive_set_aside(
        self,
        queue: QueueName,
        ids: Iterable[str] | None = None,
        *,
        is_data: bool = False,
        on_progress: OnProgress | None = None,
    ) -> int:
        """As `Admin.redrive_set_aside`."""
        return await self._dibs.run(self._redrive_set_aside(queue, ids, is_data, on_progress))

    # Dead letters

    async def dead_letter_queues(self, *, is_data: bool | None = None) -> list[DeadLetterQueueInfo]:
        """As `Admin.dead_letter_queues`."""
        return await self._dibs.run(self._dead_letter_queues(is_data))

    def dead_letters(
        self, queue: QueueName = DEADLETTER_QUEUE, *, include_content: bool = False, is_data: bool = False
    ) -> AsyncIterator[ItemInfo]:
        """As `Admin.dead_letters`, for an ``async for``."""
        return self._each(*self._dead_letters(queue, include_content, is_data))

    async def take_dead_letters(
        self,
        max_items: int = 1,
        *,
        queue: QueueName = DEADLETTER_QUEUE,
        get_timeout: Seconds = 0,
        is_data: bool = False,
    ) -> list[ItemInfo]:
        """As `Admin.take_dead_letters`."""
        return await self._dibs.run(self._take_dead_letters(max_items, queue, get_timeout, is_data))

    async def redrive_dead_letters(
        self,
        ids: Iterable[str] | None = None,
        *,
        queue: QueueName = DEADLETTER_QUEUE,
        is_data: bool = False,
        on_progress: OnProgress | None = None,
    ) -> int:
        """As `Admin.redrive_dead_letters`."""
        return await self._dibs.run(self._redrive_dead_letters(queue, ids, is_data, on_progress))

    async def purge_dead_letters(
        self,
        ids: Iterable[str] | None = None,
        *,
        queue: QueueName = DEADLETTER_QUEUE,
        is_data: bool = False,
        on_progress: OnProgress | None = None,
    ) -> int:
        """As `Admin.purge_dead_letters`."""
        return await self._dibs.run(self._purge_dead_letters(queue, ids, is_data, on_progress))

    # Tasks

    async def flush(
        self,
        queues: Iterable[QueueName] | None = None,
        *,
        complete: bool = False,
        force_delayed: bool = False,
        wait_on_hidden: bool = False,
        timeout: Seconds | None = None,
        report_every: Seconds = 10,
        on_progress: OnFlush | None = None,
    ) -> Flushed:
        """As `Admin.flush`."""
        return await self._dibs.run(
            self._flush(queues, complete, force_delayed, wait_on_hidden, timeout, report_every, on_progress)
        )

    def tasks(self, names: Iterable[str] | None = None) -> AsyncIterator[TaskInfo]:
        """As `Admin.tasks`, for an ``async for``."""
        return self._each(*self._tasks(names))

    async def register_task(
        self, name: str, *, queue: QueueName = DEFAULT_QUEUE, description: str = "", **delivery: Unpack[Delivery]
    ) -> None:
        """As `Admin.register_task`."""
        await self._dibs.run(self._register_task(name, queue, description, delivery))

    # Schedules

    def schedules(self) -> AsyncIterator[ScheduleInfo]:
        """As `Admin.schedules`, for an ``async for``."""
        return self._each(*self._schedules())

    async def put_schedule(
        self,
        name: str,
        when: Every | Cron,
        *,
        task: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        queue: QueueName | None = None,
        group: str = DEFAULT_GROUP,
        **delivery: Unpack[Delivery],
    ) -> None:
        """As `Admin.put_schedule`."""
        await self._dibs.run(self._put_schedule(name, when, task, args, kwargs, queue, group, delivery))

    async def delete_schedules(self, names: Iterable[str]) -> list[str]:
        """As `Admin.delete_schedules`."""
        return await self._dibs.run(self._delete_schedules(names))

    # Workers, locks, the broker

    def workers(self) -> AsyncIterator[WorkerInfo]:
        """As `Admin.workers`, for an ``async for``."""
        return self._each(*self._workers())

    async def stop_worker(self, worker: str) -> None:
        """As `Admin.stop_worker`."""
        await self._dibs.run(self._stop_worker(worker))

    async def resize_worker(self, worker: str, processes: int) -> None:
        """As `Admin.resize_worker`."""
        await self._dibs.run(self._resize_worker(worker, processes))

    def locks(self) -> AsyncIterator[LockInfo]:
        """As `Admin.locks`, for an ``async for``."""
        return self._each(*self._locks())

    async def acquire_lock(self, name: str, owner: str, duration: Seconds = 1) -> LockInfo:
        """As `Admin.acquire_lock`."""
        return await self._dibs.run(self._acquire_lock(name, owner, duration))

    async def refresh_lock(self, name: str, owner: str, duration: Seconds | None = None) -> LockInfo:
        """As `Admin.refresh_lock`."""
        return await self._dibs.run(self._refresh_lock(name, owner, duration))

    async def release_lock(self, name: str, owner: str) -> bool:
        """As `Admin.release_lock`."""
        return await self._dibs.run(self._release_lock(name, owner))

    async def delete_namespace(
        self, name: str, *, force: bool = False, on_progress: OnProgress | None = None
    ) -> Cleared:
        """As `Admin.delete_namespace`."""
        return await self._dibs.run(self._delete_namespace(name, force, on_progress))

    async def server_info(self) -> ServerInfo:
        """As `Admin.server_info`."""
        return await self._dibs.run(self._server_info())
