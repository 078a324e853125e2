"""One `Flush` call: waits until the tasks that are queued at its beginning have started, or are done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

from dibs.v1 import admin_pb2 as pb

from ..border.drain import Drain
from ..border.errors import NotFound, PreconditionFailed
from ..config.limits import Limits
from ..engine.engine import MAX_BATCH, Engine
from ..engine.hints import RUN_PREFIX
from ..engine.types import ItemStatus, Kind, State, Until
from ..messages.flush import FlushCall

_DONE, _STARTED, _WAITING = pb.FLUSH_STATE_DONE, pb.FLUSH_STATE_STARTED, pb.FLUSH_STATE_WAITING


async def flush(
    engine: Engine, drain: Drain, limits: Limits, call: FlushCall
) -> AsyncGenerator[pb.FlushResponse, None]:
    """Report while it waits, and at the end tell of every task."""
    loop = asyncio.get_running_loop()
    deadline = None if call.timeout_s is None else loop.time() + call.timeout_s
    wait = _Wait(engine, drain, call, await _snapshot(engine, limits, call), limits.batch_items)
    yield wait.progress()
    report_at = loop.time() + call.report_interval_s
    while not wait.over:
        until = report_at if deadline is None else min(report_at, deadline)
        await wait.go_on(max(until - loop.time(), 0))
        if deadline is not None and loop.time() >= deadline:
            break
        if loop.time() >= report_at:
            report_at += call.report_interval_s
            yield wait.progress()
    await wait.look_at_the_rest()
    for response in wait.results():
        yield response


async def _snapshot(engine: Engine, limits: Limits, call: FlushCall) -> list[str]:
    """Ids of the tasks to wait for, each once."""
    known = dict.fromkeys(name for _, name in await engine.queues.names(call.namespace, Kind.TASK))
    for queue in call.queues:
        if queue not in known:
            raise NotFound("queue", queue)
    if call.force_delayed:
        await engine.schedules.fire_all(call.namespace)
    found: dict[str, None] = {}
    for queue in call.queues or known:
        leased_too = call.complete and (call.wait_on_hidden or call.force_delayed)
        async for ids in engine.snapshots.tasks(
            call.namespace, queue, delayed_too=call.force_delayed, leased_too=leased_too
        ):
            found.update((id, None) for id in ids if not id.startswith(RUN_PREFIX))
            if len(found) > limits.max_flush_items:
                raise PreconditionFailed(
                    "TOO_MANY_ITEMS", f"more than {limits.max_flush_items} tasks are queued: flush fewer queues"
                )
    return list(found)


class _Wait:
    """Tasks and how far they have come. They are waited for in batches, mostly in the order in which they start.

    Args:
        engine: tells how tasks stand.
        drain: of this broker.
        call: what was asked for.
        ids: the tasks.
        most_told: tasks that one message tells of.
    """

    def __init__(self, engine: Engine, drain: Drain, call: FlushCall, ids: Sequence[str], most_told: int) -> None:
        self._engine = engine
        self._drain = drain
        self._namespace = call.namespace
        self._most_told = most_told
        self._until = Until.DONE if call.complete else Until.STARTED
        self._states: dict[str, pb.FlushState.ValueType] = dict.fromkeys(ids, _WAITING)
        self._counts = Counter(self._states.values())
        self._batches = [ids[at : at + MAX_BATCH] for at in range(0, len(ids), MAX_BATCH)]
        self._batches.reverse()

    @property
    def over(self) -> bool:
        """Whether all have come far enough."""
        return not self._batches

    def progress(self) -> pb.FlushResponse:
        """How far it is. Tasks of batches whose turn has not come count as they stood when they were looked at last."""
        counts = self._counts
        return pb.FlushResponse(done=counts[_DONE], started=counts[_STARTED], waiting=counts[_WAITING])

    async def go_on(self, timeout_s: float) -> None:
        """Wait for one batch. Raises `Draining` when the broker goes away."""
        looking = self._engine.lookup(self._namespace, self._batches[-1], until=self._until, timeout_s=timeout_s)
        left = self._note(await self._drain.unless_begun(looking))
        if left:
            self._batches[-1] = left
        else:
            self._batches.pop()

    async def look_at_the_rest(self) -> None:
        """How those stand that have not come far enough, if there are any."""
        for batch in self._batches:
            self._note(await self._engine.lookup(self._namespace, batch))

    def results(self) -> list[pb.FlushResponse]:
        """The last messages."""
        items = [pb.FlushedItem(id=id, state=state) for id, state in self._states.items()]
        responses = []
        for at in range(0, max(len(items), 1), self._most_told):
            response = self.progress()
            response.finished = True
            response.items.extend(items[at : at + self._most_told])
            responses.append(response)
        return responses

    def _note(self, statuses: Sequence[ItemStatus]) -> list[str]:
        """Note how tasks stand; answer those that have not come far enough."""
        left = []
        for status in statuses:
            if self._until.reached(status.state):
                state = _DONE
            else:
                left.append(status.id)
                state = _STARTED if status.state is State.STARTED else _WAITING
            self._counts[self._states[status.id]] -= 1
            self._counts[state] += 1
            self._states[status.id] = state
        return left
