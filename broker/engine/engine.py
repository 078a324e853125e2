"""The queue engine: one method an operation, one script call a batch. Speaks Redis and nothing else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from . import keys
from .cancel_wishes import CancelWishes
from .checks import Advice, advices, check_rights, check_server, server_name
from .coalesce import Coalescer
from .config import EngineConfig
from .connections import Argument, Pipe, connect, tls_options
from .dead_letters import DeadLetters
from .errors import EngineClosed, EngineNotStarted, LateCall, Refused, ScriptBug, Unavailable, UnsuitableRedis
from .faults import translate
from .hints import Hints
from .locks import Locks
from .peers import FORMAT, Peers
from .queues import Queues
from .receipts import Receipts
from .removal import Removal
from .replies import bytes_told, item_status, lease_reply
from .schedules import Schedules
from .scripts import Scripts
from .snapshots import Snapshots
from .tasks import Tasks
from .timers import Timers
from .types import (
    OPEN_WORD,
    Ack,
    Begun,
    Cancelled,
    Enqueued,
    IdList,
    ItemStatus,
    Kind,
    LeaseCall,
    Leased,
    LeaseQuery,
    LeaseReply,
    Nack,
    NewItem,
    Outcome,
    Record,
    Refresh,
    Refreshed,
    Until,
    decode_record,
)
from .workers import Workers

#: Items that one script call handles at most (Lua's unpack and Redis's patience have limits).
MAX_BATCH = 1000
#: Bytes of bodies and results that count as much as one item when calls are gathered into one script call: small
#: items fill it by number, large ones at 4 MiB, so that no call holds Redis up for long.
_WEIGHED_BYTES = 4 * 1024 * 1024 // MAX_BATCH
#: How long a wish to hear of a change stays in Redis, and how often it is renewed (with a look at how things stand).
_WATCH_US = 60_000_000
_WATCH_LOOK_S = 5.0
#: Looks at namespaces where somebody waits, for all of them together: beyond that the pauses between them grow.
_MOST_LOOKS_A_SECOND = 1000

# Looked up for every entry; calling the enum takes ten times as long.
_OUTCOMES = tuple(Outcome)
_ENQUEUED = {outcome.value: outcome for outcome in Enqueued}
#: What the items of a group have in common; see enqueue.lua.
_TERMS = attrgetter("spec", "due", "conflict")
_UNTRACKED = LeaseCall("", 0)


class EnqueueCall(NamedTuple):
    """One Enqueue request: its id ("" for none) and its items."""

    request_id: str
    items: Sequence[NewItem]


class ServerState(NamedTuple):
    """How Redis stands: what it is, its clock and how long a script took, memory in use and at most (0: no limit)."""

    name: str
    now_us: int
    latency_s: float
    memory_bytes: int
    max_memory_bytes: int
    advices: Sequence[Advice]


class Engine:
    """A queue on Redis. Batches of at most `MAX_BATCH` in and out; every method raises `EngineError`."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        tls = tls_options(config.redis_ca, config.redis_cert, config.redis_key)
        self._pipe = Pipe(
            config.redis_url,
            connect_timeout_s=config.timeout_s,
            timeout_s=config.timeout_s,
            tls=tls,
            on_elsewhere=lambda: self.hints.renew(),
        )
        # For subscriptions, which wait for ever.
        self._client = connect(config.redis_url, connect_timeout_s=config.timeout_s, tls=tls)
        channel, of_format = self._channels = (
            keys.hints_channel(config.key_prefix),
            keys.format_channel(config.key_prefix, FORMAT),
        )
        self._scripts = Scripts(self._pipe, channel, config.clock)
        self._timers = Timers(self._look, self._pause_s)
        #: Known to be among those in use.
        self._namespaces: set[str] = set()
        # Without hints it may have been missed that some are gone.
        self.hints = Hints(self._client, channel, of_format, self._timers.hasten, self._namespaces.clear)
        self.cancel_wishes = CancelWishes(self._read_cancel_wishes)
        self.peers = Peers(self._count_listeners, self._read_generation, self.hints.subscribed)
        self._hearing = ExitStack()
        self._open = False
        self._closed = False
        self.receipts = Receipts(self.arrived)
        self.queues = Queues(self._call, self._call_known)
        self.dead_letters = DeadLetters(self._call)
        self.workers = Workers(self._call, self._call_known)
        self.tasks = Tasks(self._call, self._call_known, config.task_retention_us)
        self.snapshots = Snapshots(self._call)
        self.locks = Locks(self._call, self._call_known)
        self.schedules = Schedules(self._call, self._call_known)
        self.removal = Removal(self._call, self._command, config.key_prefix, self._tell_deleted)
        self._enqueues: dict[str, Coalescer[EnqueueCall, str]] = {}
        self._acks: dict[str, Coalescer[Ack, Outcome]] = {}
        self._nacks: dict[str, Coalescer[Nack, Outcome]] = {}
        self._refreshes: dict[str, Coalescer[Refresh, Refreshed]] = {}
        self._begun: dict[str, Coalescer[Begun, None]] = {}

    async def start(self) -> None:
        """Connect and begin to look after what is in Redis.

        May be called again after `Unavailable`. Until it has returned, operations raise `EngineNotStarted`.

        Raises:
            UnsuitableRedis: this Redis must not be used, or does not let the broker in.
            Unavailable: it is not there, or does not answer in time.
        """
        try:
            async with asyncio.timeout(self.config.timeout_s):
                version = await check_server(self._client, allow_eviction=self.config.allow_eviction)
                await self.hints.check()
            self._scripts.prepare(version)
            self._open = True
            await check_rights(self._call, self._pipe, self._channels[0])
            self._timers.see_clock(await self._call("probe", "probe", ()))
            await self._learn_namespaces()
        except TimeoutError:
            raise Unavailable(f"no answer from Redis within {self.config.timeout_s:g} s") from None
        except (Refused, ScriptBug) as error:
            # The simplest script there is: where that does not run, none does.
            raise UnsuitableRedis(f"this Redis is not open to the broker: {error}") from error
        self._hearing.enter_context(self.hints.on_cancelled(self.cancel_wishes.hear))
        # The next call to each of them puts it among those in use again.
        self._hearing.enter_context(self.peers.on_data_lost(self._namespaces.clear))
        self._hearing.enter_context(self.hints.on_deleted(self._forget))
        self.cancel_wishes.start()
        self.hints.start()
        self.peers.start()
        self._timers.start()

    async def close(self) -> None:
        """Finishes what is in flight and disconnects."""
        self._closed = True
        await self._timers.close()
        await self.cancel_wishes.close()
        self._hearing.close()
        await self.peers.close()
        await self.receipts.close(0)
        await self.hints.close()
        await asyncio.gather(
            *(one.close() for one in self._enqueues.values()),
            *(one.close() for one in self._acks.values()),
            *(one.close() for one in self._nacks.values()),
            *(one.close() for one in self._refreshes.values()),
            *(one.close() for one in self._begun.values()),
        )
        self._open = False
        await self._pipe.close()
        await self._client.aclose()

    def redis_now_us(self) -> int:
        """Redis's clock now in microseconds, as far as its last reply told."""
        return self._timers.redis_now_us()

    async def ready(self) -> None:
        """Run a real script that Redis would refuse if it could not take writes."""
        await self._call("probe", "probe", ())

    async def server_state(self) -> ServerState:
        """How Redis stands now."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        now_us = await self._call("probe", "probe", ())
        latency_s = loop.time() - begun
        async with self._translated("info"), asyncio.timeout(self.config.timeout_s):
            info = await self._client.info()
        return ServerState(
            server_name(info), now_us, latency_s, info["used_memory"], info.get("maxmemory", 0), advices(info)
        )

    async def namespaces(self, most: int) -> list[str]:
        """Up to `most` of the namespaces in use, by name."""
        self._check_open("namespaces")
        return sorted(await self._read_namespaces())[:most]

    async def enqueue(self, namespace: str, request_id: str, items: Sequence[NewItem]) -> list[Enqueued]:
        """Put items into their queues, durable when this returns.

        Args:
            namespace: where.
            request_id: a second call with it answers as the first did and does nothing; "" for none.
            items: at most `MAX_BATCH`.
        """
        coalescer = self._enqueues.get(namespace)
        if coalescer is None:
            coalescer = self._enqueues[namespace] = Coalescer(
                lambda calls: self._enqueue(namespace, calls),
                MAX_BATCH,
                _weigh_enqueues,
            )
        (codes,) = await coalescer.submit((EnqueueCall(request_id, items),))
        return [_ENQUEUED[code] for code in codes]

    async def lease(
        self,
        namespace: str,
        query: LeaseQuery,
        max_items: int,
        *,
        note_hunger: bool = False,
        call: LeaseCall = _UNTRACKED,
    ) -> LeaseReply:
        """Take up to `max_items` items, at most `reply_bytes` of them (but at least one).

        Args:
            namespace: where.
            query: which queues, and overrides.
            max_items: 1 to `MAX_BATCH`; of a call with a name also 0, which only answers what it did when it was asked
                before.
            note_hunger: when the queues are empty, have the next item published as a hint.
            call: how the call is told from others; untracked: what it leases counts as received.

        Raises:
            LateCall: it came after its time, or a later one has overtaken it; it was not carried out.
        """
        await self._know(namespace)
        args: list[Argument] = [
            query.kind.value,
            max_items,
            self.config.reply_bytes,
            self.config.item_bytes,
            "" if query.lease_us is None else query.lease_us,
            "" if query.attempts is None else query.attempts,
            self.config.once_retention_us,
            self.config.share_from if self.peers.current else 0,
            int(note_hunger),
            call.caller,
            call.sequence,
            "" if call.not_after_us is None else call.not_after_us,
            call.keep_ms,
            call.skills,
            int(call.sift),
            int(call.says_begun),
            "" if query.default_attempts is None else query.default_attempts,
            query.default_dead or "",
            len(call.shares),
            *call.shares,
            len(call.receipts),
            *call.receipts,
            len(query.queues),
            *query.queues,
        ]
        due, again, now, ids, records, stretches, parked = await self._call("lease", namespace, args)
        if again == 2:
            # Redis's clock may have made a step; the next call then goes by the new one.
            self._timers.see_clock(now)
            raise LateCall("lease: the call came too late, or a later one has overtaken it")
        if due >= 0:
            self._timers.due(namespace, due)
        return lease_reply(max_items, now, again, ids, records, stretches, parked)

    async def peek(self, namespace: str, kind: Kind, queues: Sequence[str], max_items: int) -> list[tuple[str, Record]]:
        """Look at ready items without taking them, in the order in which they would be leased."""
        room, most = self.config.reply_bytes, self.config.item_bytes
        args: list[Argument] = [kind.value, max_items, room, most, len(queues), *queues]
        ids, records = await self._call("peek", namespace, args)
        return [(id.decode(), decode_record(record)) for id, record in zip(ids, records, strict=True)]

    async def restore(
        self, namespace: str, items: Sequence[Leased], *, delay_us: int = 0, name: str = "", keep_ms: int = 600_000
    ) -> None:
        """Put back at-most-once items (token 0) that were leased and never left this process.

        May be repeated under the same name.
        """
        args: list[Argument] = [name, keep_ms, delay_us, len(items)]
        for item in items:
            args += (item.id, item.record, item.attempt - 1, item.attempts, item.last_error)
        due, _ = await self._call("restore", namespace, args)
        self._timers.due(namespace, due)

    async def ack(self, namespace: str, entries: Sequence[Ack]) -> Sequence[Outcome]:
        """Finishes leased items."""
        coalescer = self._acks.get(namespace)
        if coalescer is None:
            coalescer = self._acks[namespace] = Coalescer(
                lambda batch: self._ack(namespace, batch), MAX_BATCH, _weigh_acks
            )
        return await coalescer.submit(entries)

    async def nack(self, namespace: str, entries: Sequence[Nack]) -> Sequence[Outcome]:
        """Give leased items back."""
        coalescer = self._nacks.get(namespace)
        if coalescer is None:
            coalescer = self._nacks[namespace] = Coalescer(lambda batch: self._nack(namespace, batch), MAX_BATCH)
        return await coalescer.submit(entries)

    async def refresh(self, namespace: str, entries: Sequence[Refresh]) -> Sequence[Refreshed]:
        """Lengthens leases."""
        coalescer = self._refreshes.get(namespace)
        if coalescer is None:
            coalescer = self._refreshes[namespace] = Coalescer(lambda batch: self._refresh(namespace, batch), MAX_BATCH)
        return await coalescer.submit(entries)

    async def begun(self, namespace: str, entries: Sequence[Begun]) -> Sequence[None]:
        """Says that workers have begun items. Of one that is not leased under its token any more nothing changes."""
        coalescer = self._begun.get(namespace)
        if coalescer is None:
            coalescer = self._begun[namespace] = Coalescer(lambda batch: self._begin(namespace, batch), MAX_BATCH)
        return await coalescer.submit(entries)

    async def arrived(
        self, namespace: str, calls: Sequence[tuple[str, int]] = (), receipts: Sequence[int] = ()
    ) -> None:
        """Says that answers of lease calls (caller, sequence) have arrived and shares have been received."""
        args: list[Argument] = [len(calls)]
        for call in calls:
            args += call
        await self._call("arrived", namespace, [*args, *receipts])

    async def cancel(self, namespace: str, ids: IdList) -> list[Cancelled]:
        """Cancel items."""
        return [Cancelled(code) for code in await self._call("cancel", namespace, [len(ids), *ids])]

    async def lookup(
        self,
        namespace: str,
        ids: IdList,
        *,
        until: Until = Until.NOW,
        timeout_s: float = 0.0,
        bodies: bool = False,
    ) -> list[ItemStatus]:
        """What is known of items, waiting up to `timeout_s` until all have come as far as `until`.

        Bodies, results and errors are left out of what is beyond `reply_bytes` in all.
        """
        if until is Until.NOW or timeout_s <= 0:
            return await self._lookup(namespace, ids, Until.NOW, bodies=bodies)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        found: dict[str, ItemStatus] = {}
        open_ids = set(ids)
        changed: set[str] = set(open_ids)
        wake = asyncio.Event()

        def tell(id: str) -> None:
            changed.add(id)
            wake.set()

        with self.hints.on_changed(namespace, open_ids, tell):
            while True:
                wake.clear()
                look = [id for id in open_ids if id in changed]
                changed.clear()
                for status in await self._lookup(namespace, look, until, bodies=bodies) if look else ():
                    found[status.id] = status
                    if until.reached(status.state):
                        open_ids.discard(status.id)
                left = deadline - loop.time()
                if not open_ids or left <= 0:
                    return [found[id] for id in ids]
                try:
                    async with asyncio.timeout(min(left, _WATCH_LOOK_S * random.uniform(0.75, 1.0))):
                        await wake.wait()
                except TimeoutError:
                    changed |= open_ids

    async def known_by_workers(self, namespace: str, tasks: Sequence[str]) -> set[str]:
        """Which of at most `MAX_BATCH` tasks some connected worker, of any broker, can run now."""
        counts = await self.workers.count(namespace, tasks)
        return {task for task, count in zip(tasks, counts, strict=True) if count}

    async def _call(self, script: str, namespace: str, args: Sequence[Argument]) -> Any:
        self._check_open(script)
        return await self._scripts.call(
            script, keys.namespace_prefix(self.config.key_prefix, namespace), namespace, args
        )

    async def _count_listeners(self) -> tuple[int, int]:
        self._check_open("peers")
        async with self._translated("peers"):
            _, listening, _, knowing = await self._pipe.call("PUBSUB", "NUMSUB", *self._channels)
        return listening, knowing

    async def _read_generation(self) -> bytes:
        self._check_open("peers")
        key = keys.generation(self.config.key_prefix)
        async with self._translated("peers"):
            found: bytes | None = await self._pipe.call("GET", key)
            if found is None:
                await self._pipe.call("SET", key, f"{self.hints.origin} {time.time_ns()}", "NX")
                found = await self._pipe.call("GET", key)
        return found or b""

    async def _call_known(self, script: str, namespace: str, args: Sequence[Argument]) -> Any:
        """As `_call`, for what makes a namespace one that is in use."""
        await self._know(namespace)
        return await self._call(script, namespace, args)

    async def _know(self, namespace: str) -> None:
        if namespace not in self._namespaces:
            self._check_open("namespaces")
            key = keys.namespaces(self.config.key_prefix)
            async with self._translated("namespaces"):
                # Looked up first: nothing can be added while memory is full, and what another broker knows is there.
                if not await self._pipe.call("SISMEMBER", key, namespace):
                    await self._pipe.call("SADD", key, namespace)
            self._namespaces.add(namespace)
            self._timers.add(namespace)

    def tidy(self) -> None:
        """Forgets what is kept for namespaces where nothing is under way; it is made anew when it is needed."""
        for coalescers in (self._enqueues, self._acks, self._nacks, self._refreshes, self._begun):
            for namespace in [name for name, one in coalescers.items() if one.idle]:
                del coalescers[namespace]
        self.receipts.tidy()

    async def _command(self, *words: Argument) -> Any:
        self._check_open("command")
        async with self._translated(str(words[0])):
            return await self._pipe.call(*words)

    async def _tell_deleted(self, namespace: str) -> None:
        await self._command("SREM", keys.namespaces(self.config.key_prefix), namespace)
        await self._command("PUBLISH", self._channels[0], f"d {namespace} -")
        self._forget(namespace)

    def _forget(self, namespace: str) -> None:
        """The namespace is gone; the next call to it puts it among those in use again."""
        self._namespaces.discard(namespace)
        # That somebody waits there is gone from Redis, too.
        self.hints.resync(namespace)

    async def _is_used(self, namespace: str) -> bool:
        """Whether to go on looking after a namespace: it may have been deleted, and used again since."""
        if namespace in self._namespaces or namespace in self.hints.waiting:
            return True
        async with self._translated("namespaces"):
            if await self._pipe.call("SISMEMBER", keys.namespaces(self.config.key_prefix), namespace):
                self._namespaces.add(namespace)
        return namespace in self._namespaces

    def _check_open(self, operation: str) -> None:
        if not self._open:
            if self._closed:
                raise EngineClosed(f"{operation}: the engine is closed")
            raise EngineNotStarted(f"{operation}: the engine has not been started")

    async def _learn_namespaces(self) -> None:
        for namespace in await self._read_namespaces():
            self._namespaces.add(namespace)
            self._timers.add(namespace)

    async def _read_namespaces(self) -> list[str]:
        async with self._translated("namespaces"):
            known: list[bytes] = await self._pipe.call("SMEMBERS", keys.namespaces(self.config.key_prefix))
        return [namespace.decode() for namespace in known]

    async def _read_cancel_wishes(self, namespace: str) -> list[bytes]:
        self._check_open("cancel wishes")
        async with self._translated("cancel wishes"):
            wishes: list[bytes] = await self._pipe.call(
                "LRANGE", keys.cancel_wishes(self.config.key_prefix, namespace), 0, -1
            )
        return wishes

    @staticmethod
    @asynccontextmanager
    async def _translated(operation: str) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            raise translate(error, operation) from error

    def _pause_s(self, namespace: str) -> float:
        """Most seconds between looks at a namespace: where nobody waits here, what is left behind is missed by nobody.

        A lease looks for itself, and those who wait at another broker have that one look.
        """
        waiting = self.hints.waiting
        if namespace in waiting:
            return max(self.config.poll_interval_s, len(waiting) / _MOST_LOOKS_A_SECOND)
        return max(self.config.poll_interval_s, self.config.idle_poll_interval_s)

    async def _look(self, namespace: str) -> tuple[int, int] | None:
        if await self._is_used(namespace):
            return await self._advance(namespace)
        self._timers.remove(namespace)
        return None

    async def _advance(self, namespace: str) -> tuple[int, int]:
        due, now, look, *ready = await self._call("advance", namespace, (MAX_BATCH,))
        self.schedules.see_due(namespace, look, now)
        for kind, queues in zip(Kind, ready, strict=True):
            for queue in queues:
                self.hints.ready(namespace, kind.value, queue.decode())
        return due, now

    async def _enqueue(self, namespace: str, calls: list[EnqueueCall]) -> list[str]:
        # Here and not before: calls must not overtake each other while the first one waits for this.
        await self._know(namespace)
        args: list[Argument] = [self.config.request_window_ms, self.hints.origin, len(calls)]
        extend: Callable[[Sequence[Argument]], None] = args.extend
        knows_words = self.peers.current
        for call in calls:
            groups = [(terms, tuple(items)) for terms, items in groupby(call.items, _TERMS)]
            extend((call.request_id, len(groups)))
            for (spec, due, conflict), items in groups:
                # Brokers of earlier versions, if there are any, could not read that word.
                extend((len(items), spec if knows_words else spec.partition(OPEN_WORD)[0], due, conflict))
                for item in items:
                    extend((item.id, item.body))
        # Those who wait here need no hint from Redis: their lease goes down the same connection, right behind this.
        queues = {tuple(item.spec.split(" ", 2)[:2]) for call in calls for item in call.items if not item.due}
        sent_whole = self._scripts.sent_whole
        for kind, queue in queues:
            self.hints.ready(namespace, kind, queue)
        due, *codes = await self._call("enqueue", namespace, args)
        if self._scripts.sent_whole != sent_whole:  # then their lease may have come before it
            for kind, queue in queues:
                self.hints.ready(namespace, kind, queue)
        self._timers.due(namespace, due)
        return [code.decode() for code in codes]

    async def _ack(self, namespace: str, entries: list[Ack]) -> list[Outcome]:
        if any(entry.result is not None for entry in entries):
            args: list[Argument] = [len(entries), 3]
            for id, token, result in entries:
                args += (id, "" if token is None else token, "-" if result is None else b"R" + result)
        else:
            args = [len(entries), 2]
            for id, token, _ in entries:
                args += (id, "" if token is None else token)
        with self.receipts.carried(namespace) as receipts:
            if receipts:
                args += receipts
            return [_OUTCOMES[code] for code in await self._call("ack", namespace, args)]

    async def _nack(self, namespace: str, entries: list[Nack]) -> list[Outcome]:
        args: list[Argument] = [len(entries)]
        for id, token, reason, delay_us, error in entries:
            args += (id, token, reason.value, "" if delay_us is None else delay_us, error)
        with self.receipts.carried(namespace) as receipts:
            due, codes = await self._call("nack", namespace, [*args, *receipts])
        self._timers.due(namespace, due)
        return [_OUTCOMES[code] for code in codes]

    async def _refresh(self, namespace: str, entries: list[Refresh]) -> list[Refreshed]:
        args: list[Argument] = [len(entries)]
        for id, token, lease_us in entries:
            args += (id, "" if token is None else token, "" if lease_us is None else lease_us)
        with self.receipts.carried(namespace) as receipts:
            codes, cancelled = await self._call("refresh", namespace, [*args, *receipts])
        return [Refreshed(_OUTCOMES[code], flag == 1) for code, flag in zip(codes, cancelled, strict=True)]

    async def _begin(self, namespace: str, entries: list[Begun]) -> list[None]:
        args: list[Argument] = [len(entries)]
        for entry in entries:
            args += entry
        with self.receipts.carried(namespace) as receipts:
            await self._call("begun", namespace, [*args, *receipts])
        return [None] * len(entries)

    async def _lookup(self, namespace: str, ids: IdList, until: Until, *, bodies: bool) -> list[ItemStatus]:
        room, told = self.config.reply_bytes, False
        found: list[ItemStatus] = []
        while len(found) < len(ids):
            # One call reads only so much: what is left is asked for in the next, and others get their turn.
            some = ids[len(found) :]
            args: list[Argument] = [until.value, _WATCH_US, int(bodies), room, len(some), *some, int(told)]
            replies = await self._call("lookup", namespace, args)
            for id, reply in zip(some, replies, strict=False):
                status = item_status(id, reply)
                size = bytes_told(reply, bodies=bodies)
                room = 0 if status.truncated else max(room - size, 0)
                told = told or size > 0
                found.append(status)
        return found


def _weigh_enqueues(calls: Sequence[EnqueueCall]) -> int:
    weight = 0
    for call in calls:
        size = 0
        for item in call.items:
            size += len(item.body)
        weight += max(len(call.items), size // _WEIGHED_BYTES)
    return weight


def _weigh_acks(entries: Sequence[Ack]) -> int:
    size = sum(len(entry.result) for entry in entries if entry.result)
    return max(len(entries), size // _WEIGHED_BYTES)
