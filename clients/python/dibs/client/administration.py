"""What `Dibs` and `AsyncDibs` do to queues as a whole: thin faces of the flows in `dibs.admin.queues`."""

from __future__ import annotations

from functools import cached_property

from ..admin import queues
from ..admin.admin import Admin
from ..admin.aio_admin import AsyncAdmin
from ..contract.names import QueueName
from ..rpc.flow import Flow
from ..rpc.runner import AsyncRunner, Runner
from ..rpc.times import Seconds


class Administration(Runner):
    """The blocking face; a part of `Dibs`."""

    @cached_property
    def admin(self) -> Admin:
        """Everything else that can be done to queues, and to what runs them; see `Admin`."""
        return Admin(of=self)

    def known_queues(self, *, is_data: bool = False) -> list[str]:
        """The names of all queues of tasks, in the order in which they are served.

        Args:
            is_data: of data instead.
        """
        return self.run(queues.known_queues(self.namespace, is_data=is_data))

    def queue_sizes(self, *, is_data: bool = False) -> list[tuple[str, int, int]]:
        """All queues of tasks: name, number of items that wait (delayed ones too), number of items ever put in.

        Args:
            is_data: of data instead.
        """
        return self.run(queues.queue_sizes(self.namespace, is_data=is_data))

    def set_priority(self, queue: QueueName, qpri: float | None, *, is_data: bool = False) -> None:
        """Set the priority of a queue. Lower numbers are served first, and all of them before queues without one.

        Args:
            queue: name of the queue, which need not be there yet.
            qpri: its priority; None: it has none.
            is_data: it is a queue of data.

        Raises:
            InvalidArgument: the priority is not a finite number between -1e12 and 1e12.
        """
        self.run(queues.set_priority(self.namespace, queue, qpri, is_data=is_data))

    def clear_queue(self, queue: QueueName, *, delete: bool = False, is_data: bool = False) -> int:
        """Remove all items of a queue that wait or are delayed. What is being worked on stays.

        Args:
            queue: name of the queue; that of a queue of dead letters removes those.
            delete: forget the queue as well, with its priority.
            is_data: it is a queue of data.

        Returns:
            How many items were removed.

        Raises:
            FailedPrecondition: `delete`, and items of the queue are being worked on; then nothing was done.
        """
        return self.run(queues.clear_queue(self.namespace, queue, delete=delete, is_data=is_data))

    def flush_tasks(
        self,
        complete: bool = False,
        force_delayed: bool = False,
        wait_on_hidden: bool = False,
        timeout: Seconds | None = None,
        log_every: Seconds = 0,
    ) -> tuple[list[str], list[str], list[str]]:
        """Wait until the tasks that are queued now have started, or until they are done.

        Args:
            complete: wait until they are done.
            force_delayed: make delayed tasks due now and run every schedule at once, which is not waited for. Implies
                `wait_on_hidden`.
            wait_on_hidden: wait for tasks, too, that have been started already, if waiting until they are done.
            timeout: how long; seconds or a timedelta. None or below 0: as long as it takes.
            log_every: how often to log how far it is, at INFO; seconds (from 0.1 on) or a timedelta. 0: never.

        Returns:
            Ids of the tasks that are done, of those that have started (with `complete` only; otherwise they count as
            done), and of those that wait: none, unless the time was up.

        Example::

            done, started, waiting = dibs.flush_tasks(complete=True, timeout=60)
        """
        return self.run(_flush(self.namespace, complete, force_delayed, wait_on_hidden, timeout, log_every))


class AsyncAdministration(AsyncRunner):
    """The asyncio face; a part of `AsyncDibs`."""

    @cached_property
    def admin(self) -> AsyncAdmin:
        """As `Dibs.admin`."""
        return AsyncAdmin(of=self)

    async def known_queues(self, *, is_data: bool = False) -> list[str]:
        """As `Dibs.known_queues`."""
        return await self.run(queues.known_queues(self.namespace, is_data=is_data))

    async def queue_sizes(self, *, is_data: bool = False) -> list[tuple[str, int, int]]:
        """As `Dibs.queue_sizes`."""
        return await self.run(queues.queue_sizes(self.namespace, is_data=is_data))

    async def set_priority(self, queue: QueueName, qpri: float | None, *, is_data: bool = False) -> None:
        """As `Dibs.set_priority`."""
        await self.run(queues.set_priority(self.namespace, queue, qpri, is_data=is_data))

    async def clear_queue(self, queue: QueueName, *, delete: bool = False, is_data: bool = False) -> int:
        """As `Dibs.clear_queue`."""
        return await self.run(queues.clear_queue(self.namespace, queue, delete=delete, is_data=is_data))

    async def flush_tasks(
        self,
        complete: bool = False,
        force_delayed: bool = False,
        wait_on_hidden: bool = False,
        timeout: Seconds | None = None,
        log_every: Seconds = 0,
    ) -> tuple[list[str], list[str], list[str]]:
        """As `Dibs.flush_tasks`."""
        return await self.run(_flush(self.namespace, complete, force_delayed, wait_on_hidden, timeout, log_every))


def _flush(
    namespace: str,
    complete: bool,
    force_delayed: bool,
    wait_on_hidden: bool,
    timeout: Seconds | None,
    log_every: Seconds,
) -> Flow[tuple[list[str], list[str], list[str]]]:
    return queues.flush_tasks(
        namespace,
        complete=complete,
        force_delayed=force_delayed,
        wait_on_hidden=wait_on_hidden,
        timeout=timeout,
        log_every=log_every,
    )
