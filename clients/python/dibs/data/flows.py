"""What a data queue does, written once: the flows of `Data` and `AsyncData`, and what both check."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from ..admin import flows as admin_flows
from ..admin.taking import Taking, waits
from ..codecs.sealing import Sealing
from ..contract.names import DEADLETTER_QUEUE, QueueName, queue_name
from ..enqueueing.policy import Policy, checked_attempts
from ..enqueueing.sizes import check_sizes
from ..errors import BrokerError, InvalidArgument, NotFound
from ..rpc import admin_operations as admin
from ..rpc import operations
from ..rpc.defaults import NO_DEFAULTS, Defaults
from ..rpc.encoding import EncodedRequest, ItemForm, chunks
from ..rpc.flow import Flow, do, part_size
from ..rpc.known_limits import KnownLimits, is_too_much
from ..rpc.operations import MAX_BATCH, Operation
from ..rpc.pages import whole
from ..rpc.times import Seconds, to_duration, to_seconds, to_wait
from ..v1 import broker_pb2 as pb
from ..v1 import types_pb2 as tpb
from ..v1.admin_pb2 import ITEM_SECTION_LEASED
from .batch import put_off
from .entries import Reading, data_entry, dead_data_entry, dead_task_entry, read_leased, task_entry
from .holding import Holding
from .leases import Leases

_log = logging.getLogger("dibs")

#: Items that `put_data` sends in one request, unless told otherwise.
DEFAULT_CHUNKSIZE = 512

#: Items that `stream` asks for ahead of quick bodies at most, unless told otherwise; and what it may be told: with a
#: batch it is within the credit that brokers grant.
DEFAULT_PREFETCH = 1_000
MAX_PREFETCH = 9_000


class BaseData:
    """What `Data` and `AsyncData` have in common: everything but the calls to the broker.

    Attributes:
        queue: name of the queue.
        attempts: deliveries of an item in all, the first included; 1 unless named.
        vis_timeout: seconds that a received item stays invisible to others; 0: it is taken for good.
        use_dead: whether used-up items go to the dead-letter queue, or the name of another.
        is_tasks: whether it is a queue of tasks, or one of dead tasks.
        is_dead: whether it is a dead-letter queue.
    """

    def __init__(
        self,
        queue: QueueName,
        attempts: int | None,
        vis_timeout: Seconds,
        use_dead: bool | QueueName | None,
        is_tasks: bool,
        is_dead: bool,
    ) -> None:
        self.queue = queue_name(queue)
        self.attempts = 1 if attempts is None else checked_attempts(attempts)
        self.vis_timeout = to_seconds(vis_timeout, "vis_timeout")
        self.use_dead = _dead_choice(use_dead)
        self.is_tasks = bool(is_tasks)
        self.is_dead = bool(is_dead) or self.queue == DEADLETTER_QUEUE
        #: What was named here: attempts (0: none were) and the choice of dead letters (None: it was not made).
        self._named_attempts = 0 if attempts is None else self.attempts
        self._named_dead = None if use_dead is None else self.use_dead
        self._defaults = NO_DEFAULTS
        if not (self.is_tasks or self.is_dead):
            dead = DEADLETTER_QUEUE if self.use_dead is True else self.use_dead or ""
            self._defaults = Defaults(self._named_attempts, dead)
        self._kind = tpb.QUEUE_KIND_TASK if is_tasks else tpb.QUEUE_KIND_DATA
        self._leases = Leases()
        self._forms: dict[tuple[int, bool | str | None], ItemForm] = {}
        self._taking = Taking(self.queue, self._kind)

    @property
    def _namespace(self) -> str:
        raise NotImplementedError

    @property
    def _limits(self) -> KnownLimits:
        raise NotImplementedError

    @property
    def _sealing(self) -> Sealing | None:
        raise NotImplementedError

    def __repr__(self) -> str:
        """Name and kind of the queue."""
        kind = " of tasks" if self.is_tasks else ""
        return f"<{type(self).__name__} {self.queue}{', dead letters' if self.is_dead else ''}{kind}>"

    # Putting

    def _form(self, use_dead: bool | QueueName | None, attempts: int | None, delay: Seconds) -> ItemForm:
        """What the items of one `put_data` have in common."""
        if self.is_tasks or self.is_dead:
            raise ValueError("data is put into data queues; tasks are enqueued by their execute, and dead letters die")
        seconds = to_wait(delay, "delay")
        if seconds and not self.vis_timeout:
            raise ValueError("a delay needs a queue with vis_timeout above 0")
        dead = self._named_dead if use_dead is None else _dead_choice(use_dead)
        most = self._named_attempts if attempts is None else checked_attempts(attempts)
        form = self._forms.get((most, dead)) if not seconds else None
        if form is None:
            policy = Policy.build(attempts=most or 1, vis_timeout=self.vis_timeout, use_dead=dead)
            item = pb.EnqueueItem(queue=self.queue, kind=self._kind, content=tpb.Content())
            item.policy.MergeFromString(policy.encoded)
            # What is not named here is left to who gets the item; what is, is said.
            if not most:
                item.policy.ClearField("attempts")
            if dead is not None:
                item.policy.use_dead_letter = bool(dead)
            if seconds:
                item.delay.CopyFrom(to_duration(seconds))
            form = ItemForm(item)
            if not seconds:
                self._forms[most, dead] = form
        return form

    def _put(self, form: ItemForm, ids: Sequence[str], payloads: Sequence[bytes], chunksize: int) -> Flow[None]:
        """Put items, in as many requests as it takes."""
        sent = 0
        sealing = self._sealing
        pairs = zip(ids, payloads, strict=True)
        if sealing is None:
            entries = [form.entry(id, payload) for id, payload in pairs]
        else:
            entries = [form.sealed_entry(id, payload, sealing) for id, payload in pairs]
        yield from check_sizes(entries, self._limits)
        left = deque(
            chunks(entries, min(_checked_chunksize(chunksize), self._limits.batch_items), self._limits.entry_bytes)
        )
        while left:
            chunk = left.popleft()
            try:
                yield from do(operations.enqueue(EncodedRequest(self._namespace, chunk)))
            except Exception as error:
                if isinstance(error, BrokerError) and is_too_much(error) and len(chunk) > 1:
                    # Nothing was done. Each part has a request_id of its own, for its first and all further attempts.
                    most = part_size(error, len(chunk))
                    left.extendleft(chunk[at : at + most] for at in reversed(range(0, len(chunk), most)))
                    continue
                if sent:
                    error.add_note(f"the first {sent} items were put")
                raise
            sent += len(chunk)

    # Getting

    def _get(
        self, items: int, vis_timeout: Seconds | None, get_timeout: Seconds | None, attempts: int | None
    ) -> Flow[dict[str, Any]]:
        most = _checked_items(items)
        peek, lease_timeout = self._visibility(vis_timeout)
        wait = 0.0 if get_timeout is None or peek else to_wait(get_timeout, "get_timeout")
        if self.is_dead:
            return (yield from (self._peek_dead(most) if peek else self._take_dead(most, wait)))
        value = self._value(strict=bool(lease_timeout) and not peek)
        for part in waits(wait):
            deliveries = yield from self._lease(
                max_items=most,
                lease_timeout=lease_timeout,
                get_timeout=part,
                peek=peek,
                attempts=0 if attempts is None else checked_attempts(attempts),
            )
            entries, unread = read_leased(value, deliveries)
            if unread:
                yield from self._put_off(deliveries, set(unread))
            if entries:
                break
        if lease_timeout and not peek:
            self._leases.remember(delivery for delivery in deliveries if delivery.id in entries)
        elif not peek:
            yield from self._finish_taken(deliveries)
        return entries

    def _put_off(self, deliveries: Iterable[tpb.Delivery], unread: Collection[str]) -> Flow[None]:
        entries = [put_off(item.id, item.lease_token) for item in deliveries if item.id in unread]
        try:
            yield from do(operations.nack(self._namespace, entries))
        except BrokerError as error:
            _log.warning("the broker did not hear that %d items of %s go back: %s", len(entries), self, error)

    def _lease(self, **terms: Any) -> Flow[Sequence[tpb.Delivery]]:
        """Lease, take or peek, once."""

        def ask() -> Operation[Sequence[tpb.Delivery]]:
            return operations.lease(self._namespace, self.queue, self._kind, defaults=self._defaults, **terms)

        try:
            return (yield from do(ask()))
        except InvalidArgument as error:
            if error.field or self._defaults == NO_DEFAULTS:
                raise
            # The whole request: a broker of the version before does not know these.
            self._defaults = NO_DEFAULTS
            _log.info("a broker of an earlier version delivers items of %s as they were put", self)
            return (yield from do(ask()))

    def _finish_taken(self, deliveries: Sequence[tpb.Delivery]) -> Flow[None]:
        """Of some items that were taken for good something is kept (a result, or for a dead letter): that ends here."""
        entries = [pb.AckEntry(id=item.id, lease_token=item.lease_token) for item in deliveries if item.lease_token]
        if entries:
            try:
                yield from do(operations.ack(self._namespace, entries))
            except BrokerError as error:
                # They are here all the same, and nobody else will get them.
                _log.warning("the broker did not hear that %d items of %s were taken: %s", len(entries), self, error)

    def _visibility(self, vis_timeout: Seconds | None) -> tuple[bool, float]:
        """Whether to look only, and how long leases are to last."""
        if vis_timeout is None:
            return False, self.vis_timeout
        if not hasattr(vis_timeout, "total_seconds") and isinstance(vis_timeout, int | float) and vis_timeout < 0:
            return True, 0.0
        return False, to_seconds(vis_timeout, "vis_timeout")

    def _take_dead(self, most: int, wait: float) -> Flow[dict[str, Any]]:
        items, request_id = yield from self._taking.take(self._namespace, most, wait)
        entries = self._dead_entries(items)
        if items:
            yield from self._taking.confirm(self._namespace, request_id)
        return entries

    def _peek_dead(self, most: int) -> Flow[dict[str, Any]]:
        entries: dict[str, Any] = {}
        token = ""
        while len(entries) < most:
            operation = admin.list_dead_letters(self._namespace, self.queue, self._kind, most - len(entries), token)
            items, token = yield from do(operation)
            entries.update(self._dead_entries(items))
            if not token:
                break
        return entries

    def _dead_entries(self, items: Iterable[Any]) -> dict[str, Any]:
        entry = dead_task_entry if self.is_tasks else dead_data_entry
        reading = Reading(self._namespace, self._sealing, strict=False)
        return {item.id: entry(reading, item) for item in items}

    def _value(self, *, strict: bool) -> Callable[[tpb.Delivery], Any]:
        """What makes the value of a delivery."""
        entry = task_entry if self.is_tasks else data_entry
        return partial(entry, Reading(self._namespace, self._sealing, strict=strict))

    def _stream(
        self, items: int, vis_timeout: Seconds | None, get_timeout: Seconds | None, prefetch: int
    ) -> tuple[Holding, Callable[[tpb.Delivery], Any], float | None]:
        """The state of a new consumer, what makes its values, and how long it waits."""
        _checked_items(items)
        if isinstance(prefetch, bool) or not isinstance(prefetch, int) or not 0 <= prefetch <= MAX_PREFETCH:
            raise ValueError(f"prefetch must be a whole number from 0 to {MAX_PREFETCH:,}, not {prefetch!r}")
        seconds = self.vis_timeout if vis_timeout is None else to_seconds(vis_timeout, "vis_timeout")
        if self.is_dead or not seconds:
            raise ValueError("a stream needs a vis_timeout above 0; dead letters, and items taken for good, have none")
        wait = None if get_timeout is None else to_wait(get_timeout, "get_timeout")
        holding = Holding(
            self._namespace, self.queue, self._kind, seconds, prefetch, self._limits, defaults=self._defaults
        )
        return holding, self._value(strict=True), wait

    # While items are here

    def _refresh(self, items: Iterable[str], vis_timeout: Seconds | None) -> Flow[list[str]]:
        seconds = self.vis_timeout if vis_timeout is None else to_seconds(vis_timeout, "vis_timeout")
        if vis_timeout is not None and not seconds:
            raise ValueError("vis_timeout must be above 0 for a refresh")
        refreshed: list[str] = []
        for ids in _id_batches(items):
            if self.is_dead:
                break
            entries = self._leases.refreshes(ids)
            if seconds:
                length = to_duration(seconds)
                for entry in entries:
                    entry.lease_timeout.CopyFrom(length)
            refreshed += yield from do(operations.refresh(self._namespace, entries))
        return refreshed

    def _done(self, items: Iterable[str]) -> Flow[int]:
        done = 0
        for ids in _id_batches(items):
            if self.is_dead:
                break
            entries = self._leases.acks(ids)
            done += yield from do(operations.ack(self._namespace, entries, self._leases.finish))
        return done

    # The queue as a whole

    def _available(self) -> Flow[tuple[int, int]]:
        if self.is_dead:
            dead = yield from do(admin.list_dead_letter_queues(self._namespace, self._kind))
            return next((queue.size for queue in dead if queue.name == self.queue), 0), 0
        try:
            queues, _ = yield from do(admin.list_queues(self._namespace, self._kind, [self.queue]))
        except NotFound:
            return 0, 0
        return queues[0].ready, queues[0].delayed + queues[0].leased

    def _delete_all(self) -> Flow[int]:
        if self.is_dead:
            return (yield from admin_flows.purge_dead_letters(self._namespace, self.queue, self._kind))
        try:
            removed, _ = yield from do(admin.clear_queue(self._namespace, self.queue, self._kind))
            leased = yield from whole(admin_flows.items(self._namespace, self.queue, self._kind, ITEM_SECTION_LEASED))
        except NotFound:
            return 0
        return removed + len((yield from admin_flows.delete_items(self._namespace, [item.id for item in leased])))

    def _redrive(self, ids: Iterable[str] | None) -> Flow[int]:
        if not self.is_dead:
            raise ValueError("only dead letters are sent back: use Data(name, is_dead=True)")
        return (yield from admin_flows.redrive_dead_letters(self._namespace, self.queue, self._kind, ids))


#: Iterables that are one item all the same: JSON's objects and texts, and bytes, which are refused as an item.
_ONE_ITEM = (Mapping, str, bytes, bytearray, memoryview)


def listed(data: Any, is_one: bool) -> list[Any] | tuple[Any, ...]:
    """The items that `put_data` was given."""
    if is_one:
        return [data]
    if isinstance(data, list | tuple):
        return data
    is_one = isinstance(data, _ONE_ITEM) or not isinstance(data, Iterable)
    return [data] if is_one else list(data)


def _dead_choice(use_dead: bool | QueueName | None) -> bool | str:
    return queue_name(use_dead) if use_dead and isinstance(use_dead, str | bytes) else bool(use_dead)


def _checked_items(items: int) -> int:
    if isinstance(items, bool) or not isinstance(items, int) or not 1 <= items <= MAX_BATCH:
        raise ValueError(f"items must be a whole number from 1 to {MAX_BATCH:,}, not {items!r}")
    return items


def _checked_chunksize(chunksize: int) -> int:
    if isinstance(chunksize, bool) or not isinstance(chunksize, int) or chunksize < 1:
        raise ValueError(f"chunksize must be a whole number from 1 on, not {chunksize!r}")
    return chunksize


def _id_batches(items: Iterable[str]) -> Iterator[list[str]]:
    ids = iter([items] if isinstance(items, str) else items)
    while batch := list(islice(ids, MAX_BATCH)):
        yield batch
