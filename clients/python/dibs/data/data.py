"""`Data`: queues of plain data, and what is dead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..codecs.sealing import Sealing
from ..contract.names import QueueName
from ..enqueueing.gathering import open_batch
from ..rpc.codec import encode_json
from ..rpc.default import default_runner
from ..rpc.ids import new_ids
from ..rpc.known_limits import KnownLimits
from ..rpc.runner import Runner
from ..rpc.times import Seconds
from .batch import DataBatch
from .consumer import Consumer
from .flows import DEFAULT_CHUNKSIZE, DEFAULT_PREFETCH, BaseData, listed


class Data(BaseData):
    """A queue of data items, a look into a queue of tasks, or what is dead of either. Safe to use from any thread.

    Items are any JSON values. What is received with a visibility timeout is leased: invisible to others until the
    time is up, then delivered again, up to `attempts` times in all; `done_data` finishes it. Without one it is taken
    for good: delivered at most once.

    Args:
        queue: name of the queue.
        attempts: deliveries of each item put here, the first included. Default: 1, or what who gets it names.
        vis_timeout: length of the leases; seconds or a timedelta. Default 0: items are taken for good.
        use_dead: put items that have used up their attempts into the dead-letter queue; a name names another. False
            says that they shall not be; by default that is left to who gets them.
        is_tasks: look at the queue of tasks of that name; or, of dead letters, at the tasks.
        is_dead: it is a dead-letter queue. The one called ``DEADLETTER_QUEUE`` is without being told.
        dibs: the instance whose connection to use. Default: the default instance.

    Raises:
        ValueError: an argument is out of range; the text names it.

    What is leased here and was put without `attempts` or `use_dead` has those named here; what its producer named wins.

    What `get_data` gives, by id:

    - of a data queue, the items;
    - of a task queue, ``[id, task name, args, kwargs, scheduled time]``;
    - of dead data, ``[id, '', item, extra, insert time]``; `extra` has ``queue``, ``attempts``, ``last_error`` and
      ``time_of_death``;
    - of dead tasks, ``[id, task name, args, kwargs, scheduled time, attempts, last error, time of death]``.

    Times are seconds since 1970. What is not JSON, put by another kind of client, comes as its bytes.

    What is encoded and cannot be decoded here (see `codec` of `Dibs`) is not lost: a leased item goes back for 30 s,
    its attempt unused, and is not given; of one that is taken, peeked at or dead a `dibs.codecs.Sealed` is given.

    Example::

        queue = dibs.Data("measurements", attempts=5, vis_timeout=30, use_dead=True)
        queue.put_data([{"sensor": 7, "value": 21.5}, {"sensor": 9, "value": 19.0}])
        items = queue.get_data(100, get_timeout=10)
        ...
        queue.done_data(items)
    """

    def __init__(
        self,
        queue: QueueName,
        attempts: int | None = None,
        vis_timeout: Seconds = 0,
        use_dead: bool | QueueName | None = None,
        is_tasks: bool = False,
        is_dead: bool = False,
        *,
        dibs: Runner | None = None,
    ) -> None:
        super().__init__(queue, attempts, vis_timeout, use_dead, is_tasks, is_dead)
        self._dibs = dibs if dibs is not None else default_runner()

    @property
    def _namespace(self) -> str:
        return self._dibs.namespace

    @property
    def _sealing(self) -> Sealing | None:
        return self._dibs.sealing

    @property
    def _limits(self) -> KnownLimits:
        return self._dibs.transport.limits

    def put_data(
        self,
        data: Any,
        use_dead: bool | QueueName | None = None,
        is_one: bool = False,
        chunksize: int = DEFAULT_CHUNKSIZE,
        delay: Seconds = 0,
        *,
        attempts: int | None = None,
    ) -> dict[str, Any]:
        """Put items into the queue.

        Inside of a `batch` they go with it, and are there when it ends.

        Args:
            data: a list or any other iterable of items, such as a set or a generator; a mapping, a text, and what is no
                iterable are one item.
            use_dead: instead of the queue's.
            is_one: `data` is one item even if it is a list.
            chunksize: items of one request; more than the broker takes, 1,000 as a rule, are sent in several.
            delay: they can be received that much later; seconds or a timedelta. Needs a queue with `vis_timeout`.
            attempts: instead of the queue's.

        Returns:
            The items by their new ids, in order.

        Raises:
            PayloadError: an item cannot be written as JSON; then none was put.
            ValueError: an argument is out of range, or this is no data queue.
            BrokerError: the broker refused an item. Of its chunk none was put; a note tells how many were put before.
        """
        form = self._form(use_dead, attempts, delay)
        items = listed(data, is_one)
        payloads = [encode_json(item) for item in items]
        if open_batch(self._dibs) is not None:
            put = self._dibs.put
            return {put(form, payload).id: item for item, payload in zip(items, payloads, strict=True)}
        ids = new_ids(len(items))
        self._dibs.run(self._put(form, ids, payloads, chunksize))
        return dict(zip(ids, items, strict=True))

    def get_data(
        self,
        items: int = 1,
        vis_timeout: Seconds | None = None,
        get_timeout: Seconds | None = None,
        *,
        attempts: int | None = None,
    ) -> dict[str, Any]:
        """Receive items from the queue.

        Args:
            items: how many at most, 1 to 1,000; no more than the broker hands out at a time.
            vis_timeout: above 0, lease them that long; 0, take them for good; below 0, look at them without taking
                them. Default: the queue's `vis_timeout`. Dead letters are taken or looked at.
            get_timeout: how long to wait for a first item; seconds or a timedelta. Default: not at all.
            attempts: deliveries that these items may have in all, this one included, instead of what they were put
                with.

        Returns:
            What is there by id, as soon as there is anything; empty when the time is up.

        Raises:
            ValueError: an argument is out of range.
            BrokerError: the broker could not be reached.
        """
        return self._dibs.run(self._get(items, vis_timeout, get_timeout, attempts))

    def refresh_data(self, items: Iterable[str], vis_timeout: Seconds | None = None) -> list[str]:
        """Restart the leases of items.

        An item that was received here is refreshed only while its lease is still ours. One that was received
        elsewhere is refreshed whoever has it.

        Args:
            items: ids, or what `get_data` gave.
            vis_timeout: length from now on; seconds or a timedelta. Default: the queue's, or else as before.

        Returns:
            The ids of those that were refreshed. The others are lost: done, deleted, or delivered to somebody else.
        """
        return self._dibs.run(self._refresh(items, vis_timeout))

    def done_data(self, items: Iterable[str]) -> int:
        """Finish items: they are gone for good.

        Args:
            items: ids, or what `get_data` gave. As for `refresh_data`, an item that was received here is finished only
                while its lease is still ours.

        Returns:
            How many are done by this call.
        """
        return self._dibs.run(self._done(items))

    def stream(
        self,
        items: int = 100,
        vis_timeout: Seconds | None = None,
        get_timeout: Seconds | None = None,
        *,
        prefetch: int = DEFAULT_PREFETCH,
    ) -> Iterator[DataBatch]:
        """Receive items for as long as the loop goes on, over one open stream.

        Each turn of the loop gets a batch as soon as there is an item. While its body runs the leases are refreshed,
        however long it takes. Only of bodies that are quick more is asked for, as much as they will have begun 50 ms
        later; it goes back when one takes longer. When the body has come to its end, what it has not marked otherwise
        is done. When the loop is left (``break``, ``return``, an exception), what is left of the batch is given back at
        once, and no attempt is used up. Brokers that go away are replaced.

        Args:
            items: size of a batch at most, 1 to 1,000.
            vis_timeout: length of the leases, that is, how soon others get what a crashed consumer had; seconds or a
                timedelta, above 0. Default: the queue's.
            get_timeout: end the loop when nothing has come for so long; seconds or a timedelta. Default: go on.
            prefetch: items to ask for ahead of quick bodies at most, 0 to 9,000. 0: never hold more than a batch.

        Raises:
            ValueError: an argument is out of range, or there is no `vis_timeout`.
            BrokerError: no broker could be reached at the beginning, or one refused.

        Example::

            for batch in queue.stream(items=100, vis_timeout=30):
                for id, item in batch.items():
                    try:
                        store(item)
                    except ValueError as error:
                        batch.fail(id, error)
        """
        holding, value, wait = self._stream(items, vis_timeout, get_timeout, prefetch)
        return Consumer(self._dibs.transport, holding, items, value).batches(wait)

    def currently_available(self) -> tuple[int, int]:
        """How many items can be received now, and how many cannot because they are delayed or leased."""
        return self._dibs.run(self._available())

    def delete_all(self) -> int:
        """Delete all items, those that are delayed or leased too; how many there were."""
        return self._dibs.run(self._delete_all())

    def redrive(self, ids: Iterable[str] | None = None) -> int:
        """Send dead letters back to the queues that they came from, with all their attempts; how many.

        Args:
            ids: only these. Default: all.

        Raises:
            ValueError: this is no dead-letter queue.
            NotFound: one of the ids is not there; of its thousand none was sent back.

        Example::

            dibs.Data(dibs.DEADLETTER_QUEUE).redrive()
        """
        return self._dibs.run(self._redrive(ids))
