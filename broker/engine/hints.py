"""Wake-up hints between brokers: one subscription per process, however many streams wait.

Hints are only hints: they may be lost with a connection. Whoever waits for one also looks for itself now and then. A
connection that went silent is noticed, since Redis is asked for a sign of life where no hint comes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis.asyncio as redis_async
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dibs.contract.pauses import Pauses
from dibs.contract.standing import Standing

from .faults import translate
from .types import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)

#: Start of the ids of runs of schedules.
RUN_PREFIX = "schedule:"
#: What a cancellation gets to have its effect, in seconds.
_CANCEL_S = 1.0
#: Seconds without a hint until Redis is asked for a sign of life, and seconds that it has to give one. A subscription
#: that went silent is noticed after both, and the documents say within 10.
_QUIET_S = 4.0
_ANSWER_S = 4.0
#: Stands for every queue in a wish to be woken.
ANY_QUEUE = "*"


class Hints:
    """Listens on the hints channel and tells those who asked.

    Callbacks run on the event loop and must not block. `resync` tells everybody: after the subscription was down,
    anything may have been missed.

    Args:
        client: for the subscription.
        channel: of the hints.
        of_format: listened to as well, on the same connection, so that others can tell what this engine knows.
        on_waiting: told of a namespace when the first one waits there.
        on_missed: called when hints may have been missed, before everybody is woken.

    Attributes:
        origin: marks hints about what this engine has put in: it has told its own waiters by then.
        subscribed: set while it listens.
        heard: how many hints have come.
        waiting: how many wait for queues and items, by namespace; those where nobody does are not in it.
    """

    def __init__(
        self,
        client: redis_async.Redis,
        channel: str,
        of_format: str,
        on_waiting: Callable[[str], None],
        on_missed: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._channels = (channel, of_format)
        self._on_waiting = on_waiting
        self._on_missed = on_missed
        self.heard = 0
        self.waiting: dict[str, int] = {}
        self._ready: dict[tuple[str, str, str], set[Callable[[], None]]] = defaultdict(set)
        self._changed: dict[tuple[str, str], set[Callable[[str], None]]] = defaultdict(set)
        self._runs: set[Callable[[str, str], None]] = set()
        self._deleted: set[Callable[[str], None]] = set()
        self._commands: set[tuple[Callable[[str, str], None], Callable[[str], None]]] = set()
        self._cancelled: set[Callable[[str, str, int], None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._renewed = False
        self._pauses = Pauses(longest_s=1.0)
        self._lost = Standing(_log, "subscribed to hints again")
        self.origin = os.urandom(6).hex()
        self.subscribed = asyncio.Event()

    def start(self) -> None:
        """Begins to listen."""
        self._task = asyncio.create_task(self._listen(), name="dibs-hints")

    async def check(self) -> None:
        """Subscribe once, to see that it is allowed. Raises `EngineError`."""
        try:
            async with self._client.pubsub() as pubsub:
                await pubsub.subscribe(*self._channels)
                await pubsub.get_message(timeout=_ANSWER_S)
        except Exception as error:
            raise translate(error, "subscribe") from error

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            # Should the cancellation get lost on its way through redis-py, the loop ends at its next step all the same;
            # and cutting the connection brings that about.
            self._closing = True
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_CANCEL_S)
            if not self._task.done():
                _log.warning("the hints subscription was slow to end")
                await self._client.connection_pool.disconnect()
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @contextmanager
    def on_ready(self, namespace: str, kind: Kind, queues: Iterable[str], wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` when one of the queues (none: any) has something ready."""
        with self._on(namespace, [(kind.value, queue) for queue in (tuple(queues) or (ANY_QUEUE,))], wake):
            yield

    @contextmanager
    def on_dead(self, namespace: str, kind: Kind, queue: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` when a dead-letter queue has something in it."""
        with self._on(namespace, [(f"x{kind.value}", queue)], wake):
            yield

    @contextmanager
    def _on(self, namespace: str, queues: Sequence[tuple[str, str]], wake: Callable[[], None]) -> Iterator[None]:
        keys = [(namespace, kind, queue) for kind, queue in queues]
        for key in keys:
            self._ready[key].add(wake)
        try:
            with self._one_waits(namespace):
                yield
        finally:
            for key in keys:
                self._ready[key].discard(wake)
                if not self._ready[key]:
                    del self._ready[key]

    @contextmanager
    def _one_waits(self, namespace: str) -> Iterator[None]:
        before = self.waiting.get(namespace, 0)
        self.waiting[namespace] = before + 1
        if not before:
            self._on_waiting(namespace)
        try:
            yield
        finally:
            self.waiting[namespace] -= 1
            if not self.waiting[namespace]:
                del self.waiting[namespace]

    @contextmanager
    def on_changed(self, namespace: str, ids: Iterable[str], tell: Callable[[str], None]) -> Iterator[None]:
        """Call `tell(id)` when a watched item changes its state."""
        keys = {(namespace, id) for id in ids}
        for key in keys:
            self._changed[key].add(tell)
        try:
            with self._one_waits(namespace):
                yield
        finally:
            for key in keys:
                self._changed[key].discard(tell)
                if not self._changed[key]:
                    del self._changed[key]

    @contextmanager
    def on_run(self, tell: Callable[[str, str], None]) -> Iterator[None]:
        """Call `tell(namespace, id)` when a watched run of any schedule changes its state."""
        self._runs.add(tell)
        try:
            yield
        finally:
            self._runs.discard(tell)

    @contextmanager
    def on_cancelled(self, tell: Callable[[str, str, int], None]) -> Iterator[None]:
        """Call `tell(namespace, id, token)` when an item that runs under that token is cancelled."""
        self._cancelled.add(tell)
        try:
            yield
        finally:
            self._cancelled.discard(tell)

    @contextmanager
    def on_deleted(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Call `tell(namespace)` when a namespace has been deleted."""
        self._deleted.add(tell)
        try:
            yield
        finally:
            self._deleted.discard(tell)

    @contextmanager
    def on_command(self, hear: Callable[[str, str], None], hear_answer: Callable[[str], None]) -> Iterator[None]:
        """Call `hear(namespace, rest)` with a command to a worker, `hear_answer(id)` when one has been passed on."""
        both = hear, hear_answer
        self._commands.add(both)
        try:
            yield
        finally:
            self._commands.discard(both)

    def ready(self, namespace: str, kind: str, queue: str) -> None:
        """Wakes those who wait for a queue."""
        for wake in (
            *self._ready.get((namespace, kind, queue), ()),
            *self._ready.get((namespace, kind, ANY_QUEUE), ()),
        ):
            wake()

    def resync(self, namespace: str | None = None) -> None:
        """Wakes everybody, or everybody in a namespace: hints may have been missed."""
        for key, wakes in list(self._ready.items()):
            if namespace in (None, key[0]):
                for wake in tuple(wakes):
                    wake()
        for (where, id), tells in list(self._changed.items()):
            if namespace in (None, where):
                for tell in tuple(tells):
                    tell(id)

    def _receive(self, data: bytes) -> None:
        self.heard += 1
        try:
            what, namespace, rest = data.decode().split(" ", 2)
            token = int(rest.rpartition(" ")[2]) if what == "c" else 0
            if what == "r" and " " not in rest:
                raise ValueError
            if what == "w":
                for hear_command, _ in tuple(self._commands):
                    hear_command(namespace, rest)
        except ValueError:
            # Anybody who reaches Redis can publish; the subscription must outlive it.
            _log.warning("a hint that is none of ours: %r", data[:100])
            return
        if what == "r":
            kind, queue, *origin = rest.split(" ", 2)
            if origin != [self.origin]:
                self.ready(namespace, kind, queue)
        elif what == "s":
            for tell in tuple(self._changed.get((namespace, rest), ())):
                tell(rest)
            if rest.startswith(RUN_PREFIX):
                for told in tuple(self._runs):
                    told(namespace, rest)
        elif what == "k":
            for _, hear_answer in tuple(self._commands):
                hear_answer(rest)
        elif what == "d":
            for forget in tuple(self._deleted):
                forget(namespace)
        elif what == "c":
            for hear in tuple(self._cancelled):
                hear(namespace, rest.rpartition(" ")[0], token)

    def renew(self) -> None:
        """Has the subscription made anew, within a few seconds: the address may lead to another Redis by now."""
        self._renewed = True

    async def _listen(self) -> None:
        while not self._closing:
            self._renewed = False
            try:
                async with self._client.pubsub() as pubsub:
                    await self._follow(pubsub)
                self.subscribed.clear()
                # Nor may those stay that nobody uses at the moment.
                await self._client.connection_pool.disconnect(inuse_connections=False)
            except (RedisError, OSError) as error:
                self.subscribed.clear()
                self._lost.note(None, "hints subscription lost: %s", error or "no answer from Redis")
            await asyncio.sleep(self._pauses.next_s())

    async def _follow(self, pubsub: PubSub) -> None:
        """Subscribe and hear until the subscription is to end. Raises `RedisTimeoutError` when Redis is silent."""
        # A new connection asks things before it subscribes, and would wait for their answers for ever.
        async with asyncio.timeout(_ANSWER_S):
            # One command: nobody sees one without the other.
            await pubsub.subscribe(*self._channels)
        asked = False
        while not (self._closing or self._renewed):
            message = await pubsub.get_message(timeout=_ANSWER_S if asked else _QUIET_S)
            if message is None:
                if asked:
                    raise RedisTimeoutError(f"no sign of life from Redis for {_QUIET_S + _ANSWER_S:g} s")
                asked = True
                await pubsub.ping()
                continue
            asked = False
            if message["type"] == "subscribe":
                self._pauses.reset()
                self._lost.end(None)
                self.subscribed.set()
                self._on_missed()
                self.resync()
            elif message["type"] == "message":
                self._receive(message["data"])
