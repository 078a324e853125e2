"""Keeps a stream to a broker open, whichever it is, as long as there is something to do for it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from itertools import islice

import grpc
import grpc.aio

from dibs.contract.pauses import Pauses
from dibs.contract.standing import Standing
from dibs.rpc.asking import CHECK, ask_around_aio
from dibs.rpc.beside import beside
from dibs.rpc.connection import Connection
from dibs.rpc.known_limits import is_too_large
from dibs.rpc.no_connection import why_not_connected
from dibs.rpc.status import error_from_call
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..shared.limits import MAX_TOKENS
from ..shared.logs import Said
from ..shared.not_known_here import NotKnownHere
from ..shared.settings import WorkerSettings
from .events import Announcer, EventName, Observer
from .hands import Hands
from .operator import NO_OPERATOR, Operator
from .outbox import Outbox
from .renewing import LOOK_EVERY_S
from .stream import SilentBroker, WorkStream, open_call

_log = logging.getLogger("dibs.worker")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
#: What still has to be said when everything has ended after the wait of a stop gets this long.
_LAST_WORDS_S = 0.5
#: What runs when the wait of a stop is over ends within this: processes that do not by themselves are killed in time.
_ENDING_S = 7.0
#: Tasks that a line names.
_LISTED = 20
#: A worker that no broker ever took on, for one of these reasons, does not try again.
_HOPELESS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)
#: Several brokers may stand behind one target: the next stream goes to the next one.
_ROUND_ROBIN = ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}))


class Line:
    """Serves its hands until it is stopped.

    Args:
        connection: where the brokers are.
        hands: who runs the items.
        outbox: where they put what came of them.
        settings: see there.
        observer: told what happens, in the loop; must not block.
        register_again: called when Redis has lost what was registered; must not block.
        operator: takes commands.
    """

    def __init__(
        self,
        connection: Connection,
        hands: Hands,
        outbox: Outbox,
        settings: WorkerSettings,
        observer: Observer | None = None,
        register_again: Callable[[], None] = lambda: None,
        operator: Operator = NO_OPERATOR,
    ) -> None:
        self._settings = settings
        self._connection = dataclasses.replace(connection, channel_options=(*connection.channel_options, _ROUND_ROBIN))
        self._announce = Announcer(observer)
        self._register_again = register_again
        self._operator = operator
        self._hands = hands
        self._outbox = outbox
        self._unknown = NotKnownHere(outbox.entries)
        self._hello = pb.WorkHello(
            namespace=connection.namespace,
            queues=settings.queues,
            kind=tpb.QUEUE_KIND_TASK,
            worker_id=settings.worker_id,
        )
        self._pauses = Pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        #: Set when there may be something to say on the stream, or to end it for.
        self._wake = asyncio.Event()
        #: Set when a stop begins and when its wait is over: nobody pauses over that.
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stream: WorkStream | None = None
        self._stop_asked = False
        #: The wait of a stop is over, and what runs is ended.
        self._wait_over = False
        #: Nothing more is waited for.
        self._out_of_time = False
        self._ever_taken_on = False
        #: A stream has ended.
        self._again = False
        #: Nothing came any more on the last one.
        self._silent = False
        again = Said("a broker is there again", target=connection.target, stream=settings.worker_id)
        self._missing = Standing(_log, again)
        self._brings_items = False
        self._stop_begun = False
        self._seen_finished = 0
        self._seen_released = 0

    async def run(self) -> int:
        """Works until `stop`, and then until what is here is done or the wait is over.

        Returns:
            how many items still ran, and will be delivered again if they may.

        Raises:
            BrokerError: no broker ever took this worker on, because of what it says or who it is.
        """
        self._loop = asyncio.get_running_loop()
        self._outbox.bell.connect(self._loop, self._note)
        if self._stop_asked:
            self._begin_stop()
        try:
            async with beside(self._look_after(), "dibs-worker-look-after"):
                while not self._done():
                    async with self._connection.open_aio_channel() as channel:
                        await self._use(channel)
        finally:
            self._count()
            left = self._hands.running()
            if left:
                _log.warning(
                    Said("stopping although tasks run; they are left unfinished", tasks=", ".join(left[:_LISTED]))
                )
        return len(left)

    def knows(self, task_names: Iterable[str], elsewhere: Collection[str] = ()) -> None:
        """Says which tasks the hands know now; the broker hears of it on another stream, if they are others.

        Args:
            task_names: at most 10,000; while there is none it takes no items.
            elsewhere: tasks that are known here by other hands: nothing is amiss if the broker has items of them.
        """
        names = list(task_names)
        self._unknown.known_elsewhere = elsewhere
        if names != list(self._hello.task_names):
            self._hello.task_names[:] = names
            if self._stream is not None:
                self._stream.leave()
            self._wake.set()

    def stop(self) -> None:
        """Take no more items, and end when what is here is done or the wait is over. From any thread; idempotent."""
        if self._loop is None:
            self._stop_asked = True
        else:
            self._loop.call_soon_threadsafe(self._begin_stop)

    def _begin_stop(self) -> None:
        if self._stop_begun:
            return
        self._stop_begun = self._stop_asked = True
        self._news.set()
        self._hands.hand_back()
        self._count()
        assert self._loop is not None
        self._loop.call_later(self._settings.wait, self._end_wait)
        _log.info(
            Said(
                "stopping",
                unfinished=self._hands.held,
                wait=self._settings.wait,
                stream=self._settings.worker_id,
            )
        )
        self._wake.set()

    def _end_wait(self) -> None:
        """The stop has waited long enough: what runs is ended, and what has become of it told."""
        if not self._hands.held and not self._outbox.pending():
            return
        assert self._loop is not None
        self._wait_over = True
        left = self._hands.running()
        if left:
            _log.warning(Said("the wait is over, ending what runs", tasks=", ".join(left[:_LISTED])))
        self._hands.abandon()
        self._loop.call_later(_ENDING_S, self._give_up)
        self._note()

    def _give_up(self) -> None:
        """What has not been said by now, will not be; what is on its way may arrive."""
        if self._out_of_time:
            return
        assert self._loop is not None
        self._out_of_time = True
        self._news.set()
        self._wake.set()
        self._loop.call_later(_LAST_WORDS_S, self._end_stream)

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def _done(self) -> bool:
        return self._stop_asked and (self._out_of_time or not (self._hands.held or self._outbox.pending()))

    def _over(self) -> bool:
        """Whether the open stream has done what it is for; asked when there is nothing to say on it.

        A stop ends the stream that brings items at once, for only its end says that nothing more is on its way. What
        is finished later is told on another one, which ends when there will be nothing more to tell.
        """
        return not self._takes() and (self._brings_items or self._out_of_time or not self._hands.held)

    def _takes(self) -> bool:
        return not self._stop_asked and bool(self._hello.task_names)

    async def _use(self, channel: grpc.aio.Channel) -> None:
        """One stream after another, until there is no more to do, or a broker on this channel has fallen silent.

        Another channel leads elsewhere if there is another broker: this one goes on with the connection on which
        nothing comes.
        """
        if self._silent:
            self._silent = False
            await ask_around_aio(CHECK.stub(channel).Check, self._connection.metadata)
        while not (self._silent or self._done()):
            if not self._takes() and not self._outbox.pending():
                # Nothing to say to anybody until something here has finished.
                await self._woken()
                continue
            await self._serve(channel)

    async def _serve(self, channel: grpc.aio.Channel) -> None:
        """One stream from beginning to end, and the pause after it if it broke."""
        self._brings_items = self._takes()
        target = self._connection.target
        stream = self._stream = WorkStream(
            open_call(channel, self._connection.metadata),
            self._hands,
            self._outbox,
            self._unknown,
            self._wake,
            over=self._over,
            takes=self._takes,
            announce=self._announce,
            register_again=self._register_again,
            heard=self._note_heard,
            operator=self._operator,
            target=target,
        )
        began = time.monotonic()
        try:
            await stream.run(self._next_hello())
        except grpc.aio.AioRpcError as error:
            self._announce(EventName.DISCONNECTED, target=target, reason=error.details(), error=True)
            self._note_taken_on(stream, began)
            problem = error_from_call(error, self._connection.place)
            if (error.code() in _HOPELESS or is_too_large(problem)) and not self._ever_taken_on:
                raise problem from error
            if not self._out_of_time:
                await self._pause(error)
        except SilentBroker as error:
            self._silent = True
            self._announce(EventName.DISCONNECTED, target=target, reason=str(error), error=True)
            self._ever_taken_on = self._ever_taken_on or stream.answered
            self._missing.note(
                None, Said("the broker has fallen silent, looking for another one", target=target, reason=str(error))
            )
        except asyncio.CancelledError:
            # The call was cancelled at the end of the wait, or this worker by its owner.
            if not self._out_of_time:
                raise
        else:
            self._announce(EventName.DISCONNECTED, target=target, reason="ended in peace", error=False)
            self._note_taken_on(stream, began)
            if stream.draining:
                _log.info(Said("the broker goes away, looking for another one", target=target))
        finally:
            self._stream = None
            self._again = True

    def _note_heard(self) -> None:
        self._missing.end(None)

    def _next_hello(self) -> pb.WorkHello:
        """The hello of the next stream: receipts that an earlier one has lost are made good by it."""
        hello = pb.WorkHello()
        hello.CopyFrom(self._hello)
        if self._again and self._hands.held:
            # Items that came together have the same one: said once, so that thousands of them fit any broker's message.
            tokens = dict.fromkeys(delivery.lease_token for delivery in self._hands.items() if delivery.lease_token)
            hello.received_tokens.extend(islice(tokens, MAX_TOKENS))
        return hello

    def _note_taken_on(self, stream: WorkStream, began: float) -> None:
        if stream.answered or time.monotonic() - began > _LONGEST_PAUSE_S:
            self._ever_taken_on = True
            self._pauses.reset()

    async def _pause(self, error: grpc.aio.AioRpcError) -> None:
        pause_s = self._pauses.next_s()
        self._missing.note(
            None,
            Said(
                "no stream to a broker, trying again",
                target=self._connection.target,
                code=error.code().name,
                reason=why_not_connected(error.details() or "", tls=self._connection.tls),
                pause=pause_s,
            ),
        )
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._news.wait()

    async def _woken(self) -> None:
        """Return when something has finished, or the wait is over."""
        self._wake.clear()
        self._outbox.bell.armed = True
        if not self._done() and not self._outbox.pending():
            await self._wake.wait()

    def _note(self) -> None:
        """The bell has rung."""
        self._outbox.collect()
        self._count()
        self._wake.set()
        if self._wait_over and not self._hands.held and self._loop is not None:
            self._loop.call_later(_LAST_WORDS_S, self._give_up)

    def _count(self) -> None:
        released = self._hands.released
        finished = self._hands.finished - released
        if finished > self._seen_finished:
            self._announce(EventName.FINISHED, count=finished - self._seen_finished)
            self._seen_finished = finished
        if released != self._seen_released:
            self._announce(EventName.RELEASED, count=released - self._seen_released)
            self._seen_released = released

    async def _look_after(self) -> None:
        """Sees to items that wait here for long, as long as there are any."""
        arrived = self._hands.arrived
        while True:
            await arrived.wait()
            busy = True
            while busy:
                arrived.clear()
                await asyncio.sleep(LOOK_EVERY_S)
                self._hands.look_after(time.monotonic())
                self._count()
                busy = self._hands.held > 0 or arrived.is_set()
                # Credit for what is not worth holding ahead any more is taken back.
                self._wake.set()
            self._hands.rest()
            self._wake.set()
