"""The engine on a real Redis does what a simple model does, whatever is asked of it in whatever order.

Time stands still but for the steps that move it. ``DIBS_THOROUGH=1`` makes the search longer.

The rules stand in one class, as Hypothesis wants them: each is a few lines, and most share what earlier ones have
leased. What they draw from is in ``strategies.py``, how Redis is read in ``redis_reading.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from dibs.broker.engine import keys
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.dead_letters import NoSuchLetter, Progress
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import QuotaExceeded
from dibs.broker.engine.queues import Cleared
from dibs.broker.engine.quotas import Quotas, QuotaTable
from dibs.broker.engine.types import (
    ENDED,
    Ack,
    Cancelled,
    Conflict,
    Enqueued,
    Kind,
    Leased,
    LeaseQuery,
    Nack,
    NackReason,
    NewItem,
    Outcome,
    Refresh,
    Spec,
    State,
    decode_record,
)

from ..support.history import History
from ..support.redis import RedisServer
from .model import Model, Refused
from .model_places import NO_PRIORITY, QueueKey, in_order, index_member
from .redis_reading import STATES, leases_of, numbers, numbers_of, read_namespace
from .strategies import (
    BEGIN_US,
    DEAD_QUEUES,
    IDS,
    LENGTHS_US,
    QUEUES,
    RETENTION_US,
    SECOND_US,
    delays,
    errors,
    ids,
    kinds,
    new_items,
    queue_lists,
    queues,
    tokens_of,
)

T = TypeVar("T")

#: Those that say something of a lease without a mark.
REASONS = [one for one in NackReason if one not in (NackReason.UNRECEIVED, NackReason.CRASHED)]


class EngineMachine(RuleBasedStateMachine):
    """Two engines on one Redis, each step carried out by either, and by the model."""

    engines: ClassVar[Sequence[Engine]]
    quotas: ClassVar[QuotaTable]
    raw: ClassVar[redis.Redis]
    runner: ClassVar[asyncio.Runner]
    share_from: ClassVar[int]
    namespaces: ClassVar[Iterator[int]] = itertools.count()

    leases = Bundle("leases")
    request_ids = st.sampled_from(("", "", "", "r1", "r2"))
    brokers = st.sampled_from((0, 1))

    def __init__(self) -> None:
        super().__init__()
        self.namespace = f"n{next(self.namespaces)}"
        self.prefix = keys.namespace_prefix("dibs", self.namespace)
        self.model = Model(BEGIN_US, RETENTION_US, self.share_from)
        self.history = History(RETENTION_US)
        self.gone: list[Leased] = []
        self.quotas.every = self.model.quotas

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    # Rules.

    @initialize(priorities=st.dictionaries(st.tuples(kinds, st.sampled_from(QUEUES)), st.integers(0, 2)))
    def begin(self, priorities: dict[QueueKey, int]) -> None:
        self.raw.set(self.prefix + "frozen", BEGIN_US)
        for (kind, queue), priority in priorities.items():
            self.raw.hset(f"{self.prefix}priority:{kind.value}", queue, str(priority))
        self.model.priority = priorities
        for engine in self.engines:
            # The first call in a namespace does more than later ones.
            assert not self.run(engine.lease(self.namespace, LeaseQuery(Kind.TASK), 1)).items

    @rule(via=brokers, request_id=request_ids, batch=st.lists(new_items, min_size=1, max_size=6))
    def enqueue(self, via: int, request_id: str, batch: list[NewItem]) -> None:
        repeated = request_id in self.model.requests
        outcomes = self.run(self._enqueued(via, request_id, batch))
        assert outcomes == self.model.enqueue(request_id, batch)
        if not repeated:
            self._note_enqueued(outcomes, batch)

    # Few, since they keep much from being put in.
    @rule(
        quotas=st.just(Quotas())
        | st.builds(Quotas, st.sampled_from((0, 0, 1, 2, 4)), st.sampled_from((0, 0, 100, 200, 300)), st.integers(0, 3))
    )
    def set_quotas(self, quotas: Quotas) -> None:
        self.quotas.every = self.model.quotas = quotas

    @rule(
        request_id=request_ids,
        first=st.lists(new_items, min_size=1, max_size=3),
        second=st.lists(new_items, min_size=1, max_size=3),
    )
    def enqueue_twice_in_one_call(self, request_id: str, first: list[NewItem], second: list[NewItem]) -> None:
        repeated = request_id in self.model.requests

        async def both() -> Sequence[list[Enqueued] | Refused]:
            return await asyncio.gather(self._enqueued(0, request_id, first), self._enqueued(0, request_id, second))

        outcomes = self.run(both())
        assert outcomes == self.model.enqueue_together([(request_id, first), (request_id, second)])
        if not repeated:
            self._note_enqueued(outcomes[0], first)
            if not request_id:
                self._note_enqueued(outcomes[1], second)

    @rule(
        target=leases,
        via=brokers,
        kind=kinds,
        queues=queue_lists,
        wanted=st.integers(1, 5),
        lease_us=st.sampled_from((None, None, None, 0, *LENGTHS_US)),
        attempts=st.sampled_from((None, None, None, 1, 2, 5)),
        note_hunger=st.booleans(),
    )
    def lease(
        self,
        via: int,
        kind: Kind,
        queues: tuple[str, ...],
        wanted: int,
        lease_us: int | None,
        attempts: int | None,
        note_hunger: bool,
    ) -> Any:
        query = LeaseQuery(kind, queues, lease_us, attempts)
        reply = self.run(self.engines[via].lease(self.namespace, query, wanted, note_hunger=note_hunger))
        assert reply.items == self.model.lease(query, wanted, note_hunger=note_hunger)
        assert reply.now_us == self.model.now_us
        assert reply.drained == (len(reply.items) < wanted)
        for item in reply.items:
            body = decode_record(item.record).body
            self.history.delivered(item.id, body, item.token, reply.now_us, lease_us=item.lease_us, attempts=attempts)
            if not item.token:
                self.gone.append(item)
        return multiple(*(item for item in reply.items if item.token))

    # The same steps as those above and below, as they mostly are: two of them are often what matters.

    @rule(target=leases, wanted=st.integers(1, 3))
    def lease_as_it_comes(self, wanted: int) -> Any:
        return self.lease(0, Kind.TASK, (), wanted, None, None, False)

    @rule(item=leases, error=errors)
    def fail(self, item: Leased, error: str) -> None:
        self.nack(1, [(item, "right", NackReason.FAILED, 0, error)])

    @rule(item=leases)
    def finish(self, item: Leased) -> None:
        self.ack(1, [(item, "right", b"result")])

    @rule(id=ids, conflict=st.sampled_from(Conflict))
    def enqueue_one(self, id: str, conflict: Conflict) -> None:
        spec = Spec(Kind.TASK, "p", 2, 5 * SECOND_US, None, "dead", 0)
        self.enqueue(0, "", [NewItem(id, spec.encode(), "", conflict, b"one")])

    @rule(item=leases, which=st.sampled_from(("right", "right", "wrong")), due=st.sampled_from(("", "+3000000")))
    def put_the_next_attempt_in_its_place(self, item: Leased, which: str, due: str) -> None:
        spec = Spec(Kind.TASK, "p", 1, 5 * SECOND_US, None, "dead", 0)
        conflict = f"{Conflict.REPLACE}{token_of(item, which) or 1}"
        self.enqueue(0, "", [NewItem(item.id, spec.encode(), due, conflict, b"again")])

    @rule(via=brokers, kind=kinds, queues=queue_lists, wanted=st.integers(1, 5))
    def peek(self, via: int, kind: Kind, queues: tuple[str, ...], wanted: int) -> None:
        found = self.run(self.engines[via].peek(self.namespace, kind, queues, wanted))
        assert found == self.model.peek(kind, queues, wanted)

    @rule(
        via=brokers,
        entries=st.lists(st.tuples(leases, tokens_of, st.none() | st.binary(max_size=3)), min_size=1, max_size=4),
    )
    def ack(self, via: int, entries: list[tuple[Leased, str, bytes | None]]) -> None:
        batch = [Ack(item.id, token_of(item, which), result) for item, which, result in entries]
        outcomes = self.run(self.engines[via].ack(self.namespace, batch))
        assert outcomes == self.model.ack(batch)
        for entry, outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.OK:
                self.history.ended(entry.id, "done")

    @rule(
        via=brokers,
        entries=st.lists(
            st.tuples(leases, st.sampled_from(("right", "right", "wrong")), st.sampled_from(REASONS), delays, errors),
            min_size=1,
            max_size=4,
        ),
    )
    def nack(self, via: int, entries: list[tuple[Leased, str, NackReason, int | None, str]]) -> None:
        batch = [
            Nack(item.id, token_of(item, which) or 0, reason, delay_us, error)
            for item, which, reason, delay_us, error in entries
        ]
        outcomes = self.run(self.engines[via].nack(self.namespace, batch))
        assert outcomes == self.model.nack(batch)
        for (item, *_), entry, outcome in zip(entries, batch, outcomes, strict=True):
            if outcome is Outcome.OK:
                released = entry.reason is NackReason.RELEASED and item.lease_us > 0
                undone = released or entry.reason in (NackReason.UNSEEN, NackReason.NOT_BEGUN)
                due_us = self.model.now_us + (entry.delay_us or 0)
                self.history.given_back(entry.id, undone=undone, due_us=due_us)

    @rule(
        via=brokers,
        entries=st.lists(st.tuples(leases, tokens_of, st.sampled_from((None, *LENGTHS_US))), min_size=1, max_size=4),
    )
    def refresh(self, via: int, entries: list[tuple[Leased, str, int | None]]) -> None:
        batch = [Refresh(item.id, token_of(item, which), lease_us) for item, which, lease_us in entries]
        refreshed = self.run(self.engines[via].refresh(self.namespace, batch))
        assert refreshed == self.model.refresh(batch)
        for entry, one in zip(batch, refreshed, strict=True):
            item = self.model.items.get(entry.id)
            if one.outcome is Outcome.OK and item is not None and not item.once:
                self.history.refreshed(entry.id, item.deadline_us)

    @rule(via=brokers, chosen=st.lists(ids, min_size=1, max_size=3))
    def cancel(self, via: int, chosen: list[str]) -> None:
        there = set(self.model.items)
        outcomes = self.run(self.engines[via].cancel(self.namespace, chosen))
        assert outcomes == self.model.cancel(chosen)
        for id, outcome in zip(chosen, outcomes, strict=True):
            if outcome is Cancelled.REMOVED:
                # Said again of what an earlier cancel has removed.
                if id in there:
                    self.history.ended(id, "cancelled")
                there.discard(id)
            elif outcome is Cancelled.REQUESTED:
                self.history.cancel_requested(id)

    # What operators do.

    @rule(via=brokers, kind=kinds, queue=queues, paused=st.booleans())
    def pause(self, via: int, kind: Kind, queue: str, paused: bool) -> None:
        changed = self.run(self.engines[via].queues.pause(self.namespace, kind, queue, paused=paused))
        assert changed == self.model.pause((kind, queue), paused=paused)

    @rule(via=brokers, kind=kinds, queue=queues, priority=st.none() | st.integers(-1, 2))
    def set_priority(self, via: int, kind: Kind, queue: str, priority: int | None) -> None:
        self.run(self.engines[via].queues.set_priority(self.namespace, kind, queue, priority, most=100))
        self.model.priority.pop((kind, queue), None)
        if priority is not None:
            self.model.priority[kind, queue] = priority

    @rule(via=brokers, chosen=st.lists(ids, min_size=1, max_size=3))
    def delete_items(self, via: int, chosen: list[str]) -> None:
        alive = {id for id in chosen if id in self.model.items and self.model.items[id].state is not State.DEAD}
        there = self.run(self.engines[via].queues.delete_items(self.namespace, chosen))
        assert there == self.model.delete_items(chosen)
        for id in alive:
            self.history.ended(id, "deleted")

    @rule(via=brokers, kind=kinds, queue=queues)
    def clear(self, via: int, kind: Kind, queue: str) -> None:
        async def clear() -> Cleared:
            return [step async for step in self.engines[via].queues.clear(self.namespace, kind, queue)][-1]

        ids = self.model.clear((kind, queue))
        assert self.run(clear()) == (len(ids), 0)
        for id in ids:
            self.history.ended(id, "cleared")

    @rule(via=brokers, kind=kinds, queue=queues)
    def forget(self, via: int, kind: Kind, queue: str) -> None:
        assert self.run(self.engines[via].queues.forget(self.namespace, kind, queue)) == self.model.forget(
            (kind, queue)
        )

    @rule(via=brokers, queue=queues)
    def hasten(self, via: int, queue: str) -> None:
        async def hasten() -> None:
            async for _ in self.engines[via].snapshots.tasks(self.namespace, queue, delayed_too=True, leased_too=False):
                pass

        self.run(hasten())
        for id in self.model.delayed.get((Kind.TASK, queue), {}):
            self.history.life(id).due_us = self.model.now_us
        self.model.hasten((Kind.TASK, queue))

    @rule(
        via=brokers,
        kind=kinds,
        name=st.sampled_from(DEAD_QUEUES),
        chosen=st.lists(ids, max_size=2),
        how=st.sampled_from(("redrive", "redrive", "purge", "take")),
    )
    def work_off_dead_letters(self, via: int, kind: Kind, name: str, chosen: list[str], how: str) -> None:
        letters = self.engines[via].dead_letters
        if how == "take":
            expected = self.model.leave_dead((kind, name), ())
            taken = self.run(
                letters.take(self.namespace, kind, name, 1000, room=1_000_000, item_bytes=1_000_000)
            ).letters
            assert expected is not None
            assert [item.id for item in taken] == [item.id for item in expected]
            return

        async def steps() -> list[Progress | NoSuchLetter]:
            work = letters.redrive if how == "redrive" else letters.purge
            return [step async for step in work(self.namespace, kind, name, chosen)]

        (step,) = self.run(steps())
        items = (self.model.redrive if how == "redrive" else self.model.leave_dead)((kind, name), chosen)
        assert step == (NoSuchLetter(str(step[0])) if items is None else Progress(len(items), 0))
        for item in items or () if how == "redrive" else ():
            self.history.enqueued(item.id, item.body, attempts=item.spec.attempts, due_us=self.model.now_us)

    @rule(via=brokers)
    def restore(self, via: int) -> None:
        items = list({item.id: item for item in self.gone}.values())
        self.gone.clear()
        self.run(self.engines[via].restore(self.namespace, items))
        for id in self.model.restore(items):
            self.history.restored(id)

    @rule(via=brokers)
    def advance(self, via: int) -> None:
        self.run(self.engines[via]._advance(self.namespace))
        self.model.advance()

    @rule(by_us=st.sampled_from((*LENGTHS_US, 30 * SECOND_US)))
    def time_passes(self, by_us: int) -> None:
        self.model.now_us += by_us
        self.raw.set(self.prefix + "frozen", self.model.now_us)

    # What holds after every step.

    @invariant()
    def items_are_as_the_model_has_them(self) -> None:
        statuses = self.run(self.engines[0].lookup(self.namespace, IDS, bodies=True))
        assert statuses == self.model.lookup(IDS, bodies=True)
        for status in statuses:
            if status.id not in self.history.lives:
                assert status.state is State.UNKNOWN, f"I2: {status.id} was never put in"
            elif status.state not in ENDED:
                ends = self.history.life(status.id).ends
                assert not ends, f"I5: {status.id} is {status.state} after it had ended: {ends}"
            elif not self.history.life(status.id).ends:
                if status.id in self.model.expired:
                    self.history.ended(status.id, "expired")
                elif status.state is State.UNKNOWN:
                    self.history.vanished(status.id, self.model.now_us)
                else:
                    self.history.ended(status.id, status.state.name)

    @invariant()
    def bytes_that_are_counted_are_those_that_are_there(self) -> None:
        found: dict[Any, Any] = self.raw.hgetall(self.prefix + "bytes")
        if found:
            assert b"cursor" not in found
            assert int(found[b"total"]) == self.model.use().bytes

    @invariant()
    def redis_holds_what_the_model_has(self) -> None:
        found = read_namespace(self.raw, self.prefix)
        model = self.model
        assert found["item"] == {item.id.encode(): item.record for item in model.items.values()}
        runs = {id: run.split(b" ", 7) for id, run in found["run"].items()}
        assert {
            id: (STATES.get(run[0], State.WAITING), int(run[1]), int(run[2]), run[6] == b"1")
            for id, run in runs.items()
        } == {
            item.id.encode(): (
                State.WAITING if item.state is State.SCHEDULED else item.state,
                item.token,
                item.used,
                item.cancel,
            )
            for item in model.items.values()
            if item.token is not None
        }
        assert {id.decode(): error.decode() for id, error in found["error"].items()} == {
            item.id: item.error for item in model.items.values() if item.error is not None
        }
        due = {member: int(score) for member, score in found["due"]}
        assert due == {index_member(*key): time_us for key, time_us in model.due.items()}
        for kind in Kind:
            ready_index = {queue.decode(): int(score) for queue, score in found[f"ready:{kind.value}"]}
            assert ready_index == {
                queue: model.priority.get((kind, queue), NO_PRIORITY) for _, queue in model.ready_queues(kind)
            }
            assert {name.decode() for name in found[f"hungry:{kind.value}"]} == model.hungry[kind]
            stale = {queue.decode(): int(count) for queue, count in found[f"stale:{kind.value}"].items()}
            assert numbers(found[f"seen:{kind.value}"]) == numbers_of(model.seen, kind)
            assert numbers(found[f"deaths:{kind.value}"]) == numbers_of(model.deaths, kind)
            assert numbers(found[f"done:{kind.value}"]) == numbers_of(model.done, kind)
            assert {name.decode() for name in found[f"paused:{kind.value}"]} == {
                queue for of, queue in model.paused if of is kind
            }
            assert {name.decode() for name in found[f"deadqueues:{kind.value}"]} == {
                name for (of, name), entries in model.dead.items() if of is kind and entries
            }
            for queue in QUEUES:
                key = (kind, queue)
                tail = f"{kind.value}:{queue}"
                entries = [id.decode() for id in found[f"queue:{tail}"]]
                assert entries == model.lists.get(key, [])
                assert len(entries) - stale.get(queue, 0) == len(model.ready(key))
                delayed = {id.decode(): int(score) for id, score in found[f"delayed:{tail}"]}
                assert delayed == model.delayed.get(key, {})
                assert list(delayed) == in_order(delayed)
                leased = leases_of(found[f"leased:{tail}"], found[f"shareids:{tail}"], runs)
                assert leased == model.leased.get(key, {})
                assert list(leased) == model.leased_in_order(key)
                assert {share.decode(): int(left) for share, left in found[f"shareleft:{tail}"].items()} == {
                    f"{token}.{deadline_us}": len(share.left)
                    for (queue_key, token, deadline_us), share in model.shares.items()
                    if queue_key == key
                }
                expiring = {id.decode(): int(score) for id, score in found[f"expiring:{tail}"]}
                assert expiring == model.expiring.get(key, {})
                for name, entries_by_time in (("delayed", delayed), ("leased", leased), ("expiring", expiring)):
                    if entries_by_time:
                        assert due[index_member(name, key)] <= min(entries_by_time.values())
            for name in DEAD_QUEUES:
                dead = {id.decode(): int(score) for id, score in found[f"dead:{kind.value}:{name}"]}
                assert dead == model.dead.get((kind, name), {})

    def teardown(self) -> None:
        """Works everything off: whatever was put in must come to an end."""
        for kind, queue in tuple(self.model.paused):
            self.pause(0, kind, queue, paused=False)
        for _ in range(100):
            if all(item.state is State.DEAD for item in self.model.items.values()):
                break
            self.time_passes(60 * SECOND_US)
            for kind in Kind:
                for item in self.lease(0, kind, (), 5, 10 * SECOND_US, None, False).values:
                    self.ack(1, [(item, "right", None)])
        self.items_are_as_the_model_has_them()
        self.redis_holds_what_the_model_has()
        self.history.all_ended()

    async def _enqueued(self, via: int, request_id: str, batch: list[NewItem]) -> list[Enqueued] | Refused:
        try:
            return await self.engines[via].enqueue(self.namespace, request_id, batch)
        except QuotaExceeded as error:
            return Refused(error.quota, error.limit, error.used)

    def _note_enqueued(self, outcomes: list[Enqueued] | Refused, batch: Sequence[NewItem]) -> None:
        if isinstance(outcomes, Refused):
            return
        for item, outcome in zip(batch, outcomes, strict=True):
            if outcome is Enqueued.REPLACED and not self.history.life(item.id).ends:
                self.history.ended(item.id, "replaced")
            if outcome in (Enqueued.CREATED, Enqueued.REPLACED):
                given = int(item.due[1:] or 0)
                due_us = self.model.now_us + given if item.due[:1] == "+" else given
                attempts = int(item.spec.split(" ")[2])
                self.history.enqueued(item.id, item.body, attempts=attempts, due_us=due_us)


def token_of(item: Leased, which: str) -> int | None:
    return {"right": item.token, "wrong": item.token + 1, "unfenced": None}[which]


# Long enough to make a failure simple.
@pytest.mark.timeout(3600 if os.environ.get("DIBS_THOROUGH") else 500)
@pytest.mark.parametrize("share_from", [0, 2])
def test_the_engine_does_what_the_model_does(redis_server: RedisServer, share_from: int) -> None:
    thorough = bool(os.environ.get("DIBS_THOROUGH"))
    quotas = QuotaTable()
    config = EngineConfig(
        redis_server.url,
        poll_interval_s=1e6,
        once_retention_us=RETENTION_US,
        clock="clock_shifted",
        timeout_s=10,
        share_from=share_from,
        quotas=quotas,
    )
    with asyncio.Runner() as runner, redis.Redis.from_url(redis_server.url) as raw:
        engines = [Engine(config), Engine(config)]

        async def start() -> None:
            for engine in engines:
                await engine.start()
                # Time's work is a step of its own here.
                await engine._timers.close()
                await engine.hints.subscribed.wait()
            for engine in engines:
                await engine.peers.look()
                assert engine.peers.current

        async def close() -> None:
            for engine in engines:
                await engine.close()

        runner.run(start())
        machine = type(
            "Machine",
            (EngineMachine,),
            {"engines": engines, "raw": raw, "runner": runner, "share_from": share_from, "quotas": quotas},
        )
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=2000 if thorough else 150,
                    stateful_step_count=60 if thorough else 40,
                    deadline=None,
                    derandomize=bool(os.environ.get("CI")),
                    print_blob=True,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(close())
