"""The calls of a client, answered by a broker in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from ...contract.limits import CONTRACT
from ...v1 import admin_pb2 as apb
from ...v1 import broker_pb2 as pb
from ...v1 import types_pb2 as tpb
from .clock import Clock
from .dead_letters import DeadLetters
from .items import Items, page, seconds
from .locks import Locks
from .refusals import Refusal, invalid, not_found, not_here
from .schedules import Schedules

#: Longer than that nobody waits for nothing.
_MOST_IDLE_S = 86_400.0

_OVER = (
    tpb.ITEM_STATE_SUCCEEDED,
    tpb.ITEM_STATE_FAILED,
    tpb.ITEM_STATE_DEAD,
    tpb.ITEM_STATE_CANCELLED,
    tpb.ITEM_STATE_EXPIRED,
    tpb.ITEM_STATE_UNKNOWN,
)


@dataclass(frozen=True)
class Waiting:
    """An answer that time, or somebody else, has to bring.

    Attributes:
        look: the answer if it is there.
        seconds: how long to wait for it.
        otherwise: the answer if it has not come by then.
    """

    look: Callable[[], Sequence[Message] | None]
    seconds: float
    otherwise: Callable[[], Sequence[Message]]


class Service:
    """Answers calls of one namespace. Safe to use from several threads.

    Args:
        clock: what time it is.

    Attributes:
        clock: what time it is.
        items: everything that was enqueued.
        schedules: what runs by itself.
        lock: held by who looks at any of that.
        on_put: told of each item that was enqueued.
        on_cancel: told id and token of each that was cancelled while it runs.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.items = Items(clock)
        self.schedules = Schedules(self.items)
        self.lock = threading.RLock()
        self.on_put: Callable[[pb.EnqueueItem], None] = lambda item: None
        self.on_cancel: Callable[[str, int], None] = lambda id, token: None
        #: Seconds that were waited since something last changed.
        self._idle_s = 0.0
        dead, locks = DeadLetters(self.items), Locks(clock)
        self._tasks: dict[str, apb.TaskDefinition] = {}
        self._requests: dict[str, pb.EnqueueResponse] = {}
        self._answers: dict[str, Callable[[Any], Message | Sequence[Message] | Waiting]] = {
            "Enqueue": self.enqueue,
            "Lease": self._lease,
            "Ack": self.ack,
            "Nack": self.nack,
            "Refresh": self.refresh,
            "Cancel": self._cancel,
            "Result": self._result,
            "ListQueues": self._list_queues,
            "SetPriority": self._set_priority,
            "PauseQueue": lambda request: self._pause(request, apb.PauseQueueResponse, paused=True),
            "ResumeQueue": lambda request: self._pause(request, apb.ResumeQueueResponse, paused=False),
            "ClearQueue": self._clear_queue,
            "ListItems": self._list_items,
            "DeleteItems": self._delete_items,
            "ListTasks": self._list_tasks,
            "RegisterTasks": self._register_tasks,
            "ListWorkers": lambda request: apb.ListWorkersResponse(),
            **dead.answers,
            **locks.answers,
            **self.schedules.answers,
        }

    def answer(self, method: str, request: Message) -> Sequence[Message] | Waiting:
        """The replies to a call, or what they wait for.

        Raises:
            Refusal: the call is refused.
        """
        found = self._answers.get(method)
        if found is None:
            raise not_here(method)
        with self.lock:
            self.pass_time()
            said = found(request)
        if not isinstance(said, Waiting):
            self._idle_s = 0.0
        return [said] if isinstance(said, Message) else said

    def pass_time(self) -> None:
        """Do what time has made due."""
        with self.lock:
            self.schedules.fire()
            self.items.end_leases()

    def idle(self, seconds: float) -> None:
        """Say that somebody has waited so long for nothing.

        Raises:
            Refusal: all that waiting has led nowhere; there is nothing that could end it.
        """
        self._idle_s += seconds
        if self._idle_s > _MOST_IDLE_S:
            self._idle_s = 0.0
            text = "nothing that is enqueued would end this wait, however long: what is waited for is not run here"
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, text, reason="WAITS_FOR_EVER")

    def next_time(self) -> float | None:
        """When something changes by itself; None: never."""
        times = [time for time in (self.items.next_time(), self.schedules.next_time()) if time is not None]
        return min(times, default=None)

    def enqueue(self, request: pb.EnqueueRequest) -> pb.EnqueueResponse:
        """Put items in, all or none; a repeated request changes nothing."""
        known = self._requests.get(request.request_id)
        if known is not None:
            return known
        for place, item in enumerate(request.items):
            size = len(item.content.payload)
            if size > CONTRACT.max_payload_bytes:
                text = f"must have at most {CONTRACT.max_payload_bytes} bytes, not {size}"
                raise invalid(f"items[{place}].content.payload", text)
        response = pb.EnqueueResponse()
        for item in request.items:
            outcome = self.items.put(item)
            response.items.add(id=item.id, outcome=outcome)
            if outcome in (pb.ENQUEUE_OUTCOME_CREATED, pb.ENQUEUE_OUTCOME_REPLACED):
                self.on_put(item)
        if request.request_id:
            self._requests[request.request_id] = response
        return response

    def ack(self, request: pb.AckRequest) -> pb.AckResponse:
        """Finish leased items."""
        return pb.AckResponse(outcomes=[self._outcome(one.id, self.items.ack(one)) for one in request.entries])

    def nack(self, request: pb.NackRequest) -> pb.NackResponse:
        """Take leased items back."""
        return pb.NackResponse(outcomes=[self._outcome(one.id, self.items.nack(one)) for one in request.entries])

    def refresh(self, request: pb.RefreshRequest) -> pb.RefreshResponse:
        """Lengthen leases."""
        return pb.RefreshResponse(outcomes=[self._outcome(one.id, self.items.refresh(one)) for one in request.entries])

    def _outcome(self, id: str, outcome: tpb.Outcome.ValueType) -> tpb.EntryOutcome:
        item = self.items.there.get(id)
        return tpb.EntryOutcome(id=id, outcome=outcome, cancel_requested=item is not None and item.cancel)

    def _lease(self, request: pb.LeaseRequest) -> Sequence[Message] | Waiting:
        if request.follow:
            raise not_here("Lease with follow, which stream() and consume() need,")

        def look() -> Sequence[Message] | None:
            deliveries = self.items.lease(request)
            if not deliveries:
                return None
            response = pb.LeaseResponse(deliveries=deliveries)
            response.lease_time.FromNanoseconds(round(self.clock.now() * 1e9))
            return [response]

        return Waiting(look, seconds(request.get_timeout), list)

    def _cancel(self, request: pb.CancelRequest) -> Message:
        response = pb.CancelResponse()
        for id in request.ids:
            outcome = self.items.cancel(id)
            response.items.add(id=id, outcome=outcome)
            if outcome == pb.CANCEL_OUTCOME_REQUESTED:
                self.on_cancel(id, self.items.there[id].token)
        return response

    def _result(self, request: pb.ResultRequest) -> Waiting:
        def now() -> Sequence[Message]:
            found = [self.items.look_up(id, include_content=request.include_content) for id in request.ids]
            return [pb.ResultResponse(results=found)]

        def look() -> Sequence[Message] | None:
            states = [self.items.look_up(id).state for id in request.ids]
            far = (*_OVER, tpb.ITEM_STATE_STARTED) if request.until == pb.WAIT_UNTIL_STARTED else _OVER
            return now() if all(state in far for state in states) else None

        waits = request.until in (pb.WAIT_UNTIL_STARTED, pb.WAIT_UNTIL_DONE)
        length_s = seconds(request.timeout) if request.HasField("timeout") else 30.0
        return Waiting(look if waits else now, length_s, now)

    def _list_queues(self, request: apb.ListQueuesRequest) -> Message:
        names = set(request.names)
        known = [key for key in self.items.queues if request.kind in (tpb.QUEUE_KIND_UNSPECIFIED, key[0])]
        missing = names - {name for _, name in known}
        if missing:
            raise not_found(f"there is no queue {sorted(missing)[0]!r}")
        found = sorted((self._queue(*key) for key in known if not names or key[1] in names), key=_served)
        queues, token = page(found, request.page_size, request.page_token)
        return apb.ListQueuesResponse(queues=queues, next_page_token=token)

    def _queue(self, kind: tpb.QueueKind.ValueType, name: str) -> apb.QueueInfo:
        counts, now = self.items.counts(kind, name), self.clock.now()
        found = self.items.of(kind, name)
        info = apb.QueueInfo(name=name, kind=kind, seen=counts.seen, done=counts.done, paused=counts.paused)
        info.ready = sum(one.waits and one.due <= now for one in found)
        info.delayed = sum(one.waits and one.due > now for one in found)
        info.leased = sum(one.deadline is not None for one in found)
        info.dead = sum(one.died is not None for one in found)
        if counts.priority is not None:
            info.priority = counts.priority
        return info

    def _set_priority(self, request: apb.SetPriorityRequest) -> Message:
        priority = request.priority if request.HasField("priority") else None
        self.items.counts(request.kind, request.queue).priority = priority
        return apb.SetPriorityResponse()

    def _pause(self, request: Any, response: Callable[..., Message], *, paused: bool) -> Message:
        self._known(request)
        counts = self.items.counts(request.kind, request.queue)
        changed = counts.paused is not paused
        counts.paused = paused
        return response(changed=changed)

    def _clear_queue(self, request: apb.ClearQueueRequest) -> Sequence[Message]:
        self._known(request)
        removed = self.items.remove(one for one in self.items.of(request.kind, request.queue) if one.waits)
        deleted = bool(request.delete) and not self.items.of(request.kind, request.queue)
        if deleted:
            del self.items.queues[request.kind, request.queue]
        return [apb.ClearQueueResponse(removed=removed, deleted=deleted)]

    def _list_items(self, request: apb.ListItemsRequest) -> Message:
        self._known(request)
        now = self.clock.now()
        found = self.items.of(request.kind, request.queue)
        if request.section == apb.ITEM_SECTION_LEASED:
            some = [one for one in found if one.deadline is not None]
        elif request.section == apb.ITEM_SECTION_SET_ASIDE:
            some = []
        else:
            delayed = request.section == apb.ITEM_SECTION_DELAYED
            some = sorted((one for one in found if one.waits and (one.due > now) is delayed), key=lambda one: one.due)
        items, token = page(some, request.page_size, request.page_token)
        infos = [self.items.info(one, include_content=request.include_content) for one in items]
        return apb.ListItemsResponse(items=infos, next_page_token=token)

    def _delete_items(self, request: apb.DeleteItemsRequest) -> Message:
        deleted = []
        for id in request.ids:
            there, ended = self.items.there.pop(id, None), self.items.ends.pop(id, None)
            if there or ended:
                deleted.append(id)
        return apb.DeleteItemsResponse(deleted_ids=deleted)

    def _register_tasks(self, request: apb.RegisterTasksRequest) -> Message:
        self._tasks.update((task.name, task) for task in request.tasks)
        return apb.RegisterTasksResponse()

    def _list_tasks(self, request: apb.ListTasksRequest) -> Message:
        wanted = set(request.names)
        names = sorted(name for name in self._tasks if not wanted or name in wanted)
        found, token = page(names, request.page_size, request.page_token)
        tasks = [apb.TaskInfo(definition=self._tasks[name]) for name in found]
        return apb.ListTasksResponse(tasks=tasks, next_page_token=token)

    def _known(self, request: Any) -> None:
        if (request.kind, request.queue) not in self.items.queues:
            raise not_found(f"there is no queue {request.queue!r}")


def _served(queue: apb.QueueInfo) -> tuple[int, bool, float, str]:
    """The order in which queues are served."""
    return queue.kind, not queue.HasField("priority"), queue.priority, queue.name
