"""`AsyncData.stream`: two tasks carry the stream of a consumer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc

from ..contract.pauses import Pauses
from ..errors import DibsError
from ..rpc.aio_transport import AioTransport
from ..rpc.asking import CHECK, ask_around_aio
from ..rpc.beside import beside
from ..rpc.rpcs import WORK
from ..rpc.status import error_from_call
from ..v1 import broker_pb2 as pb
from ..v1.types_pb2 import Delivery
from .batch import DataBatch, Entry, Marks, put_off
from .consumer import LEAVE_SECONDS, TAKEN_ON_SECONDS, forgivable
from .entries import read_leased
from .holding import Holding

_log = logging.getLogger("dibs")


class AsyncConsumer(Marks):
    """As `consumer.Consumer`, in one event loop.

    Args:
        transport: whose channel to use.
        holding: what is held and has to be said.
        items: size of a batch at most.
        value: makes what the caller gets of a delivery, or raises CodecError.
    """

    def __init__(self, transport: AioTransport, holding: Holding, items: int, value: Callable[[Delivery], Any]) -> None:
        self._transport = transport
        self._holding = holding
        self._items = items
        self._value = value
        #: Set when there may be something to say, or when the caller leaves.
        self._news = asyncio.Event()
        #: Set when something has come from the broker, or nothing ever will.
        self._heard = asyncio.Event()
        self._leaving = False
        #: The broker of the open stream goes away.
        self._draining = False
        self._error: Exception | None = None

    @property
    def lost(self) -> frozenset[str]:  # type: ignore[override]  # it is read only
        """Ids of held items whose leases were lost, since the last batch."""
        return self._holding.lost

    def mark(self, ids: Sequence[str], entry: Callable[[str, int], Entry]) -> None:
        """Settle these, as far as they are held."""
        self._holding.mark(ids, entry)
        self._news.set()

    async def batches(self, get_timeout: float | None) -> AsyncGenerator[DataBatch, None]:
        """Batches until none has come for that many seconds (None: for ever), or the caller goes away."""
        carrying = asyncio.create_task(self._carry(), name="dibs-stream")
        try:
            while True:
                deliveries = await self._wait(get_timeout)
                if not deliveries:
                    return
                entries, unread = read_leased(self._value, deliveries)
                if unread:
                    self.mark(unread, put_off)
                if entries:
                    yield DataBatch(entries.items(), self)
                self._holding.finish([delivery.id for delivery in deliveries])
        finally:
            await self._leave(carrying)

    async def _wait(self, timeout: float | None) -> list[Delivery]:
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while True:
            if self._error is not None:
                raise self._error
            deliveries = self._holding.take(self._items)
            if not deliveries:
                self._holding.want(self._items)
            self._news.set()
            if deliveries:
                return deliveries
            self._heard.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._heard.wait()
            except TimeoutError:
                return self._holding.take(self._items)

    async def _leave(self, carrying: asyncio.Task[None]) -> None:
        """Give everything back, and end the stream."""
        self._holding.leave()
        self._leaving = True
        self._news.set()
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.wait([carrying])
        except TimeoutError:
            _log.warning("the broker did not take note in %g s; leases are left to run out", LEAVE_SECONDS)
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)

    @property
    def _over(self) -> bool:
        return self._leaving and (self._holding.settled or self._error is not None)

    async def _carry(self) -> None:
        """One stream after another."""
        pauses = Pauses()
        ever = False
        began = time.monotonic()
        while not self._over:
            opened = time.monotonic()
            try:
                await self._one(pauses)
            except grpc.RpcError as broken:
                problem = error_from_call(broken, self._transport.connection.place)
                now = time.monotonic()
                ever = ever or now - opened > TAKEN_ON_SECONDS
                learned = self._transport.limits.hear_refusal(problem) or self._holding.hear_refusal(problem)
                if not (learned or forgivable(problem)) or not (
                    ever or now - began < self._transport.connection.timeout
                ):
                    self._fail(problem)
                    return
                _log.warning("the stream of a data queue broke, opening another: %s", problem)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                self._fail(error)
                return
            else:
                ever = True
            if not self._over:
                await asyncio.sleep(pauses.next_s())

    async def _one(self, pauses: Pauses) -> None:
        closed, generation = self._transport.closed, self._transport.generation
        call = self._transport.method(WORK)(metadata=self._transport.connection.metadata)
        self._draining = False
        task = asyncio.current_task()
        assert task is not None
        try:
            async with (
                beside(self._speak(call, self._holding.begin()), "dibs-stream-requests"),
                beside(self._watch(call), "dibs-stream-watch"),
            ):
                async for response in call:
                    pauses.reset()
                    self._holding.receive(response)
                    self._draining = self._draining or response.drain
                    self._heard.set()
                    self._news.set()
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            if silence := self._holding.silence:
                _log.warning("the stream of a data queue broke, opening another: %s", silence)
                self._transport.leave_channel(generation)
                await ask_around_aio(self._transport.method(CHECK), self._transport.connection.metadata)
                return
            if closed == self._transport.closed:
                return  # calls got no answer on that channel, and by now it is closed
            raise DibsError("this client has been closed") from None
        finally:
            call.cancel()

    async def _watch(self, call: Any) -> None:
        """Cancel the call when the broker says nothing for too long, also while it takes nothing that is said."""
        while (pause := self._holding.look_at_heart()) is not None:
            await asyncio.sleep(pause)
            if self._holding.silence:
                call.cancel()
                return
            # An empty message may be due.
            self._news.set()

    async def _speak(self, call: Any, request: pb.WorkRequest | None) -> None:
        """Say what there is to say, until the caller has left and everything is settled, or the broker goes away."""
        # When the call has ended, the reader learns why.
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._say(call, request)

    async def _say(self, call: Any, request: pb.WorkRequest | None) -> None:
        while True:
            if request is not None:
                await call.write(request)
            self._news.clear()
            pause = self._holding.look()
            ending = self._over or self._draining
            request = self._holding.message(last=ending)
            if request is not None:
                continue
            if ending:
                await call.done_writing()
                return
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._heard.set()
