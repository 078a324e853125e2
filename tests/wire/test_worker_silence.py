"""A worker and a broker each of which notices that nothing comes from the other any more, and nothing else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
import pytest

from dibs import Dibs
from dibs.broker.config.limits import Limits
from dibs.contract.heartbeats import Rhythm
from dibs.rpc import heart
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb
from dibs.worker.connector.events import EventName

from ..support.broker_thread import BrokerThread, serving
from ..support.proxy import between
from ..support.redis import RedisServer
from ..support.workers import Job, Watched, working

#: A worker that has heard nothing for so long looks for another broker; pings would take half a minute.
SILENCE_S = 2.0
LIMITS = Limits(heartbeat_interval=timedelta(milliseconds=200), heartbeat_timeout=timedelta(seconds=SILENCE_S))


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator[BrokerThread]:
    with serving(redis_server.url, limits=LIMITS) as broker:
        yield broker


async def connected(worker: Watched) -> None:
    """Returns when both sides have agreed on heartbeats."""
    await worker.until(EventName.CONNECTED)
    await asyncio.sleep(0.6)


def breaks(worker: Watched) -> list[str]:
    """Why streams of the worker have broken."""
    return [event.details["reason"] for event in worker.events if event.name is EventName.DISCONNECTED]


async def test_a_worker_that_hears_nothing_opens_a_stream_on_a_new_channel(
    broker: BrokerThread, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with between(broker.target) as proxy, Dibs(broker.target) as app:
        task = app.task(name="task", vis_timeout=60, save_results=60)(lambda: "")
        async with working(proxy.target, {"task": Job("task", lambda: "done")}) as worker:
            await connected(worker)
            began = time.monotonic()
            proxy.swallow()
            handle = task.execute()
            assert await asyncio.to_thread(handle.get, 15) == "done"
            assert time.monotonic() - began < SILENCE_S + 6
            assert breaks(worker) == [f"nothing was heard for {SILENCE_S:g} s"]
    assert sum("the broker has fallen silent" in message for message in caplog.messages) == 1
    assert sum("a broker is there again" in message for message in caplog.messages) == 1


async def test_a_broker_that_hears_nothing_gives_others_what_the_worker_has_not_received(
    broker: BrokerThread, caplog: pytest.LogCaptureFixture
) -> None:
    with between(broker.target) as proxy, Dibs(broker.target) as app:
        task = app.task(name="task", vis_timeout=60, save_results=60)(lambda: "")
        async with working(proxy.target, {"task": Job("task", lambda: "done")}, threads=1) as worker:
            await connected(worker)
            # It hears what it is sent, and what it says does not get there: as from a worker that is frozen.
            proxy.hold()
            handle = task.execute()
            async with working(broker.target, {"task": Job("task", lambda: "another")}):
                assert await asyncio.to_thread(handle.get, 15) == "another"
            assert sum("has said nothing for 2 s, its stream ends" in message for message in caplog.messages) == 1


async def test_idle_streams_of_a_broker_and_a_worker_that_are_well_stay(broker: BrokerThread) -> None:
    async with working(broker.target, {"task": Job("task", lambda: None)}) as worker:
        await asyncio.sleep(2 * SILENCE_S + 1)
        assert breaks(worker) == []


async def test_a_worker_whose_loop_was_held_up_for_long_does_not_blame_the_broker(broker: BrokerThread) -> None:
    with Dibs(broker.target) as app:
        task = app.task(name="task", save_results=60)(lambda: "")
        async with working(broker.target, {"task": Job("task", lambda: "done")}) as worker:
            await connected(worker)
            # The worker's streams are in this loop.
            time.sleep(3 * SILENCE_S)
            handle = await asyncio.to_thread(task.execute)
            assert await asyncio.to_thread(handle.get, 15) == "done"
            # The broker had heard nothing, and ended the stream; the worker opened another one at once.
            assert f"nothing was heard for {SILENCE_S:g} s" not in breaks(worker)


class Mute(broker_pb2_grpc.BrokerServiceServicer):
    """Takes the first stream and says nothing on it, as a frozen broker behind a balancer; the second gets a word."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    async def Work(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        self.peers.append(context.peer())
        if len(self.peers) > 1:
            # One of an older version: it says what it takes, and knows no heartbeats.
            await context.write(pb.WorkResponse(limits=tpb.Limits(max_credit=10)))
        async for request in request_iterator:
            assert not request.heartbeats


async def test_a_broker_that_says_no_first_word_is_left_and_an_older_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heart, "DEFAULT", Rhythm(0.1, 1.0))
    server = grpc.aio.server()
    service = Mute()  # type: ignore[abstract]  # it needs no more
    broker_pb2_grpc.add_BrokerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with working(f"127.0.0.1:{port}", {"task": Job("task", lambda: None)}) as worker:
            await worker.until(EventName.DISCONNECTED)
            await worker.until(EventName.CONNECTED)
            await asyncio.sleep(3)
            assert breaks(worker) == ["nothing was heard for 1 s"]
            assert len(set(service.peers)) == len(service.peers) == 2
    finally:
        await server.stop(0)


@pytest.mark.parametrize("known", [False, True], ids=["the first item", "a later item"])
async def test_nothing_begins_under_a_lease_that_ran_out_while_the_worker_was_held_up(
    redis_server: RedisServer, known: bool
) -> None:
    ran: list[float] = []

    def run() -> None:
        ran.append(time.monotonic())

    with serving(redis_server.url) as broker, Dibs(broker.target) as app:
        task = app.task(name="task", vis_timeout=1, attempts=5, save_results=60)(lambda: None)
        async with working(broker.target, {"task": Job("task", run)}) as worker:
            await connected(worker)
            if known:
                await asyncio.to_thread((await asyncio.to_thread(task.execute)).get, 15)
                ran.clear()
            with ThreadPoolExecutor(1) as pool:
                handle = pool.submit(task.execute)
                # The worker's streams are in this loop: the item comes meanwhile, and its lease runs out.
                time.sleep(3)
            await asyncio.to_thread(handle.result().get, 15)
    # Under its second lease alone.
    assert len(ran) == 1
