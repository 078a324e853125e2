"""`Admin`: running the queues from a program, as the `dibs` command does by hand.

One class, one file: most of it says what the methods do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..codecs.sealing import Sealing
from ..contract.names import DEADLETTER_QUEUE, DEFAULT_QUEUE, QueueName
from ..enqueueing.policy import Delivery
from ..rpc.default import default_runner
from ..rpc.known_limits import KnownLimits
from ..rpc.pages import NamedPages, Pages
from ..rpc.runner import Runner
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


class Admin(BaseAdmin):
    """Run the queues of one namespace from a program: all that the `dibs` command does. Safe to use from any thread.

    Lists are asked for a page at a time, while you iterate, and errors come then. Every method raises a `BrokerError`
    when the broker refuses or cannot be reached; `Raises` below names what else, or which of them.

    Args:
        of: the `Dibs` whose connection to use. Default: the default instance.

    Raises:
        TypeError: `of` is something else, such as an `AsyncDibs`, which has an `admin` of its own.

    Example::

        app = Dibs("queue.example.org:7411")
        for queue in app.admin.queues():
            print(queue.name, queue.ready)
        app.admin.pause_queue("mail")
    """

    def __init__(self, *, of: Runner | None = None) -> None:
        super().__init__()
        if of is not None and not isinstance(of, Runner):
            raise TypeError(f"an Admin goes with a Dibs or None, not with {of!r:.200}; an AsyncDibs has its own")
        self._dibs = of if of is not None else default_runner()

    def __repr__(self) -> str:
        """Whose it is."""
        return f"<Admin of {self._dibs!r}>"

    @property
    def _namespace(self) -> str:
        return self._dibs.namespace

    @property
    def _sealing(self) -> Sealing | None:
        return self._dibs.sealing

    @property
    def _limits(self) -> KnownLimits:
        return self._dibs.transport.limits

    def _each(self, pages: Pages[M] | NamedPages[M], view: Callable[[M], T]) -> Iterator[T]:
        while (page := self._dibs.run(pages.next())) is not None:
            yield from map(view, page)

    # Queues

    def queues(self, names: Iterable[QueueName] | None = None, *, is_data: bool | None = None) -> Iterator[QueueInfo]:
        """Queues with their counts, in the order in which they are served: by kind, priority, and name.

        Args:
            names: only these; they are asked for up to 1,000 at a time. Default: all.
            is_data: only queues of data (True), or of tasks (False). Default: both.

        Raises:
            NotFound: while you iterate, if one of the names is not known.
        """
        return self._each(*self._queues(names, is_data))

    def queue(self, queue: QueueName, *, is_data: bool = False) -> QueueInfo:
        """One queue with its counts.

        Args:
            queue: its name.
            is_data: it is a queue of data.

        Raises:
            NotFound: it is not known.
        """
        return self._dibs.run(self._queue(queue, is_data))

    def set_priority(self, queue: QueueName, priority: float | None, *, is_data: bool = False) -> None:
        """Set the priority of a queue. Lower numbers are served first, and all of them before queues without one.

        Args:
            queue: its name; it need not be there yet.
            priority: a number from -1e12 to 1e12; None: it has none.
            is_data: it is a queue of data.

        Raises:
            InvalidArgument: the priority is out of range.
            FailedPrecondition: 10,000 other queues have one (a setting of the broker), with reason TOO_MANY_PRIORITIES.
        """
        self._dibs.run(self._set_priority(queue, priority, is_data))

    def pause_queue(self, queue: QueueName, *, is_data: bool = False) -> bool:
        """Stop deliveries from a queue, on every broker within 100 ms. What is leased goes on; new items are taken in.

        Args:
            queue: its name.
            is_data: it is a queue of data.

        Returns:
            Whether it was not paused before.

        Raises:
            NotFound: it is not known.
        """
        return self._dibs.run(self._pause_queue(queue, is_data))

    def resume_queue(self, queue: QueueName, *, is_data: bool = False) -> bool:
        """Deliver from a queue again. Arguments and errors as for `pause_queue`.

        Returns:
            Whether it was paused before.
        """
        return self._dibs.run(self._resume_queue(queue, is_data))

    def clear_queue(
        self, queue: QueueName, *, delete: bool = False, is_data: bool = False, on_progress: OnProgress | None = None
    ) -> Cleared:
        """Remove the items of a queue that are ready or delayed. What is leased goes on.

        It takes as long as there is work, in small steps. One that is broken off has done what it has reported.

        Args:
            queue: its name.
            delete: then forget the queue, too, its priority and its counts, unless items have come in meanwhile.
            is_data: it is a queue of data.
            on_progress: told how far it is.

        Raises:
            NotFound: it is not known.
            FailedPrecondition: `delete`, and items of it are leased or set aside; then nothing was done.
        """
        return self._dibs.run(self._clear_queue(queue, delete, is_data, on_progress))

    # Items

    def items(
        self, queue: QueueName, section: Section = "ready", *, include_content: bool = False, is_data: bool = False
    ) -> Iterator[ItemInfo]:
        """Items of a queue, without leasing them.

        What moves while you iterate may come twice or not at all.

        Args:
            queue: name of the queue.
            section: ``ready``, ``delayed``, ``leased`` or ``set-aside``.
            include_content: with payloads and headers. Default: with the name of the task only.
            is_data: it is a queue of data.

        Raises:
            ValueError: there is no such section.
            NotFound: while you iterate, if the queue is not known.
        """
        return self._each(*self._items(queue, section, include_content, is_data))

    def delete_items(self, ids: Iterable[str]) -> list[str]:
        """Delete items wherever they are: waiting, leased, dead, or finished with their result.

        A worker that runs one is told as of a cancelled one.

        Args:
            ids: any number of ids.

        Returns:
            The ids of those that were there.
        """
        return self._dibs.run(self._delete_items(ids))

    def redrive_set_aside(
        self,
        queue: QueueName,
        ids: Iterable[str] | None = None,
        *,
        is_data: bool = False,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Send items that were set aside back to the end of their queue, as new. `items` lists them.

        What still cannot be delivered is set aside again as soon as it is its turn.

        Args:
            queue: name of the queue.
            ids: only these. Default: all that are set aside now. An empty list: none.
            is_data: it is a queue of data.
            on_progress: told how far it is.

        Returns:
            How many were sent back.

        Raises:
            NotFound: the queue is not known, or one of the ids was not set aside.
        """
        return self._dibs.run(self._redrive_set_aside(queue, ids, is_data, on_progress))

    # Dead letters

    def dead_letter_queues(self, *, is_data: bool | None = None) -> list[DeadLetterQueueInfo]:
        """Dead-letter queues that hold something, and how much.

        Args:
            is_data: only those of data (True), or of tasks (False). Default: both.
        """
        return self._dibs.run(self._dead_letter_queues(is_data))

    def dead_letters(
        self, queue: QueueName = DEADLETTER_QUEUE, *, include_content: bool = False, is_data: bool = False
    ) -> Iterator[ItemInfo]:
        """Dead letters, the oldest death first, with what they died of. A queue that is not known is empty.

        Args:
            queue: the dead-letter queue.
            include_content: with payloads and headers.
            is_data: those of data.
        """
        return self._each(*self._dead_letters(queue, include_content, is_data))

    def take_dead_letters(
        self,
        max_items: int = 1,
        *,
        queue: QueueName = DEADLETTER_QUEUE,
        get_timeout: Seconds = 0,
        is_data: bool = False,
    ) -> list[ItemInfo]:
        """Take dead letters out, the oldest death first, with their content. Nothing else has them then.

        When a call fails because its answer was lost, the next one for that queue gets what it took.

        Args:
            max_items: how many at most, 1 to 1,000.
            queue: the dead-letter queue.
            get_timeout: how long to wait for a first one; seconds or a timedelta. Default: not at all.
            is_data: those of data.

        Raises:
            ValueError: `max_items` is out of range.
        """
        return self._dibs.run(self._take_dead_letters(max_items, queue, get_timeout, is_data))

    def redrive_dead_letters(
        self,
        ids: Iterable[str] | None = None,
        *,
        queue: QueueName = DEADLETTER_QUEUE,
        is_data: bool = False,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Send dead letters back to the queues that they came from, with all their attempts.

        It takes as long as there is work, in small steps. When its answer is lost it is not repeated by itself: what
        died once more meanwhile would get its attempts twice.

        Args:
            ids: only these. Default: all that are there now. An empty list: none.
            queue: the dead-letter queue.
            is_data: those of data.
            on_progress: told how far it is.

        Returns:
            How many were sent back.

        Raises:
            NotFound: one of the ids is not there. Ids go in requests of up to 1,000: of that one nothing was done, and
                a note says how many items were done before.
        """
        return self._dibs.run(self._redrive_dead_letters(queue, ids, is_data, on_progress))

    def purge_dead_letters(
        self,
        ids: Iterable[str] | None = None,
        *,
        queue: QueueName = DEADLETTER_QUEUE,
        is_data: bool = False,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Remove dead letters for good. Arguments and errors as for `redrive_dead_letters`.

        Returns:
            How many were removed.
        """
        return self._dibs.run(self._purge_dead_letters(queue, ids, is_data, on_progress))

    # Tasks

    def flush(
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
        """Wait until the tasks that are queued now have started, or until they are done.

        Args:
            queues: only those of these queues, at most 1,000. Default: of all.
            complete: wait until they are done.
            force_delayed: make delayed tasks due now and run every schedule at once, which is not waited for. Implies
                `wait_on_hidden`.
            wait_on_hidden: wait for tasks, too, that have been started already, if waiting until they are done.
            timeout: how long; seconds or a timedelta. None or below 0: as long as it takes, up to 30 days.
            report_every: how often `on_progress` is told, 0.1 s to 1 hour; seconds or a timedelta.
            on_progress: told how far it is.

        Raises:
            NotFound: one of the queues is not known.
            FailedPrecondition: more than 1,000,000 tasks wait (a setting of the broker), with reason TOO_MANY_ITEMS.
        """
        return self._dibs.run(
            self._flush(queues, complete, force_delayed, wait_on_hidden, timeout, report_every, on_progress)
        )

    def tasks(self, names: Iterable[str] | None = None) -> Iterator[TaskInfo]:
        """Tasks that workers have registered in the last 30 days, by name.

        Args:
            names: only those of these names that are known. Default: all.
        """
        return self._each(*self._tasks(names))

    def register_task(
        self, name: str, *, queue: QueueName = DEFAULT_QUEUE, description: str = "", **delivery: Unpack[Delivery]
    ) -> None:
        """Make a task known by name, or change it, as a worker does at its start for the tasks of its code.

        Args:
            name: its name.
            queue: the queue of its calls.
            description: what it does, for people; what is longer than 1,000 characters is cut off.
            delivery: how its calls are delivered: `attempts`, `vis_timeout` and others, as for `Dibs.task`.

        Raises:
            ValueError: a value is out of range; the text names it.
        """
        self._dibs.run(self._register_task(name, queue, description, delivery))

    # Schedules

    def schedules(self) -> Iterator[ScheduleInfo]:
        """Schedules and how they stand, by name."""
        return self._each(*self._schedules())

    def put_schedule(
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
        """Make or change a schedule: a task that runs by itself. One that is unchanged keeps its next due time.

        Workers put the schedules of their code when they start, each module in a group of its own.

        Args:
            name: its name.
            when: `dibs.Every` or `dibs.Cron`.
            task: the task to run. Default: that of the schedule's name.
            args: arguments of the runs, by place.
            kwargs: arguments of the runs, by name.
            queue: the queue of the runs. Default: the task's if it is registered, else ``default``.
            group: what it belongs to.
            delivery: how the runs are delivered: `attempts`, `vis_timeout` and others, as for `Dibs.task`. Default: as
                the task's calls if it is registered, else at most once.

        Raises:
            ValueError: a value is out of range; the text names it.
            PayloadError: the arguments cannot be written as JSON.

        Example::

            app.admin.put_schedule("nightly", dibs.Cron("0 3 * * *", "Europe/Vienna"), task="mail.sweep")
        """
        self._dibs.run(self._put_schedule(name, when, task, args, kwargs, queue, group, delivery))

    def delete_schedules(self, names: Iterable[str]) -> list[str]:
        """Remove schedules and their runs that have not started.

        A worker whose code has one puts it again at its start.

        Args:
            names: any number of names.

        Returns:
            The names of those that were there.
        """
        return self._dibs.run(self._delete_schedules(names))

    # Workers, locks, the broker

    def workers(self) -> Iterator[WorkerInfo]:
        """Workers that are connected to any broker, by id."""
        return self._each(*self._workers())

    def stop_worker(self, worker: str) -> None:
        """Have a worker stop in an orderly way, as after SIGTERM, whichever broker it is connected to.

        Args:
            worker: its name: `WorkerInfo.worker`.

        Raises:
            NotFound: no worker of that name is connected.
            FailedPrecondition: it, or its broker, is of a version that knows no commands.
            Unavailable: its broker has not passed the command on in time.
        """
        self._dibs.run(self._stop_worker(worker))

    def resize_worker(self, worker: str, processes: int) -> None:
        """Have a worker run so many task processes, 1 to 1,000. Those that are too many end in peace.

        Errors as for `stop_worker`. A worker with `--autoscale` goes on from that number.
        """
        self._dibs.run(self._resize_worker(worker, processes))

    def locks(self) -> Iterator[LockInfo]:
        """Locks that are held, by name."""
        return self._each(*self._locks())

    def acquire_lock(self, name: str, owner: str, duration: Seconds = 1) -> LockInfo:
        """Take a lock for an owner of your choice, or fail at once; the owner may take it again.

        `Dibs.lock` is for a ``with``.

        Args:
            name: name of the lock.
            owner: who takes it, 1-128 printable ASCII characters without blanks.
            duration: how long it is held without a refresh, 1 ms to 30 days; seconds or a timedelta.

        Raises:
            FailedPrecondition: somebody else holds it, with reason LOCK_HELD.
        """
        return self._dibs.run(self._acquire_lock(name, owner, duration))

    def refresh_lock(self, name: str, owner: str, duration: Seconds | None = None) -> LockInfo:
        """Start the time of a held lock anew.

        Args:
            name: name of the lock.
            owner: who holds it.
            duration: how long from now. Default: as long as it was taken for.

        Raises:
            FailedPrecondition: that owner does not hold it, with reason LOCK_LOST.
        """
        return self._dibs.run(self._refresh_lock(name, owner, duration))

    def release_lock(self, name: str, owner: str) -> bool:
        """Free a lock, such as that of a program that is gone; `locks` says who holds it.

        Args:
            name: name of the lock.
            owner: who holds it.

        Returns:
            Whether that owner held it.
        """
        return self._dibs.run(self._release_lock(name, owner))

    def delete_namespace(self, name: str, *, force: bool = False, on_progress: OnProgress | None = None) -> Cleared:
        """Remove a namespace with everything in it: items, results, schedules, tasks, locks, counts.

        It takes as long as there is work, in small steps. One that is broken off has done what it has reported.

        Args:
            name: its name, whichever namespace this is; there is no default.
            force: also while workers are connected there or items are leased. What runs then ends without a trace.
            on_progress: told how far it is, in keys of Redis.

        Raises:
            ValueError: `name` is empty.
            FailedPrecondition: somebody works there, and `force` was not given; then nothing was done.
        """
        return self._dibs.run(self._delete_namespace(name, force, on_progress))

    def server_info(self) -> ServerInfo:
        """The broker that answers: its version, its Redis, settings, limits, and what should be changed."""
        return self._dibs.run(self._server_info())
