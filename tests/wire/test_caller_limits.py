"""What one caller may use of a broker: calls a second, streams, bytes that are under way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from dibs import AsyncDibs, Dibs
from dibs.broker.border.tolls import Account, Tolls
from dibs.broker.config.call_limits import Allowance, Allowances, CallerLimits
from dibs.broker.config.options import options
from dibs.broker.config.principals import CallLimits
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.auth import bearer
from ..support.guarded import guarded
from ..support.redis import RedisServer
from .conftest import item
from .statuses import next_of, refused
from .test_identities import SHOP
from .test_server import serving

PEEK = pb.LeaseRequest(kind=tpb.QUEUE_KIND_DATA, peek=True)
OVER = grpc.StatusCode.RESOURCE_EXHAUSTED


def broker_of(channel: grpc.aio.Channel) -> Any:
    return broker_pb2_grpc.BrokerServiceStub(channel)


async def goes(call: Any) -> bool:
    try:
        await call
    except grpc.aio.AioRpcError:
        return False
    return True


async def over(call: Any) -> tuple[str, str, float]:
    """The refusal of a call: of what, how much there may be, seconds after which to try again."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is OVER
    status: Any = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # an AioRpcError has what it needs
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert all(detail.Unpack(info) or detail.Unpack(retry) for detail in status.details)
    assert info.reason == "CALLER_LIMIT"
    return info.metadata["quota"], info.metadata["limit"], retry.retry_delay.ToTimedelta().total_seconds()


async def test_calls_beyond_the_burst_are_refused_with_the_time_after_which_one_may_come(
    redis_server: RedisServer,
) -> None:
    # So seldom that none comes free while this runs.
    limits = {"max_calls_per_second": 1, "max_call_burst": 100}
    async with serving(redis_server.url, **limits) as (server, channel):
        broker = broker_of(channel)
        await asyncio.gather(*(broker.Cancel(pb.CancelRequest(ids=["a"])) for _ in range(100)))

        quota, limit, wait_s = await over(broker.Cancel(pb.CancelRequest(ids=["a"])))

        assert (quota, limit) == ("calls_per_second", "1")
        assert 0 < wait_s <= 1
        # Another connection is another caller.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(server.addresses[0], options=options) as other:
            await broker_of(other).Cancel(pb.CancelRequest(ids=["a"]))


async def test_the_client_waits_as_long_as_it_is_told_and_gets_through(redis_server: RedisServer) -> None:
    limits = {"max_calls_per_second": 20, "max_call_burst": 1}
    async with serving(redis_server.url, **limits) as (server, _):
        async with AsyncDibs(server.addresses[0]) as client:
            queue = client.Data("mail")
            began = time.monotonic()
            for number in range(10):
                await queue.put_data([number])
            took = time.monotonic() - began
            assert sorted(await queue.get_data(10)) is not None

        # The first at once, and then one every 50 ms.
        assert took > 0.4


async def test_blocking_calls_wait_likewise_on_their_stream(redis_server: RedisServer) -> None:
    limits = {"max_calls_per_second": 20, "max_call_burst": 1}
    async with serving(redis_server.url, **limits) as (server, _):

        def calls() -> float:
            with Dibs(server.addresses[0]) as client:
                queue = client.Data("mail")
                began = time.monotonic()
                for number in range(10):
                    queue.put_data([number])
                return time.monotonic() - began

        assert await asyncio.to_thread(calls) > 0.4


async def test_each_request_of_a_stream_counts_and_the_stream_goes_on(redis_server: RedisServer) -> None:
    async with serving(redis_server.url, max_calls_per_second=1, max_call_burst=3) as (_, channel):
        stream = broker_of(channel).EnqueueStream()
        for number in range(5):
            request = pb.EnqueueRequest(items=[item(f"{number}")])
            await stream.write(pb.EnqueueStreamRequest(request=request))
        await stream.done_writing()

        replies = [await next_of(stream) for _ in range(5)]

        assert [reply.HasField("response") for reply in replies] == [True, True, True, False, False]
        assert replies[3].error.code == OVER.value[0]


async def test_streams_beyond_the_limit_are_refused_until_one_ends(redis_server: RedisServer) -> None:
    async with serving(redis_server.url, max_caller_streams=2) as (_, channel):
        broker = broker_of(channel)
        streams = [broker.EnqueueStream() for _ in range(2)]
        for number, stream in enumerate(streams):
            await stream.write(pb.EnqueueStreamRequest(request=pb.EnqueueRequest(items=[item(f"{number}")])))
            await next_of(stream)

        assert (await over(anext(aiter(broker.Lease(PEEK)))))[:2] == ("streams", "2")
        # Calls that do not stay open are none.
        await broker.Cancel(pb.CancelRequest(ids=["a"]))

        await streams[0].done_writing()
        assert await streams[0].read() is grpc.aio.EOF
        async for _ in broker.Lease(PEEK):
            pass


async def test_calls_that_wait_count_as_streams(redis_server: RedisServer) -> None:
    async with serving(redis_server.url, max_caller_streams=1) as (_, channel):
        broker = broker_of(channel)
        admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        await broker.Enqueue(pb.EnqueueRequest(items=[item("a")]))
        waits = pb.ResultRequest(ids=["a"], until=pb.WAIT_UNTIL_DONE, timeout=Duration(seconds=60))
        takes = apb.TakeDeadLettersRequest(kind=tpb.QUEUE_KIND_TASK, get_timeout=Duration(seconds=60))

        for first, second in ((broker.Result, admin.TakeDeadLetters), (admin.TakeDeadLetters, broker.Result)):
            requests = {broker.Result: waits, admin.TakeDeadLetters: takes}
            waiting = first(requests[first])
            # Until it has come; that the others do not wait leaves its place free.
            while await goes(broker.Lease(PEEK).read()):
                pass
            assert (await over(second(requests[second])))[:2] == ("streams", "1")
            # What does not wait is none.
            await broker.Result(pb.ResultRequest(ids=["a"]))
            await admin.TakeDeadLetters(apb.TakeDeadLettersRequest(kind=tpb.QUEUE_KIND_TASK))
            waiting.cancel()
            while not await goes(broker.Lease(PEEK).read()):
                pass


async def test_bytes_of_requests_are_limited_while_they_are_under_way(redis_server: RedisServer) -> None:
    async with serving(redis_server.url, max_in_flight_bytes=1000) as (_, channel):
        broker = broker_of(channel)
        ids = [f"{number:0100}" for number in range(8)]
        for id in ids:
            await broker.Enqueue(pb.EnqueueRequest(items=[item(id)]))
        waits = pb.ResultRequest(ids=ids, until=pb.WAIT_UNTIL_DONE)
        waits.timeout.seconds = 60
        under_way = broker.Result(waits)
        large = pb.EnqueueRequest(items=[item("a")])
        large.items[0].content.payload = b"1" * 900
        while await goes(broker.Enqueue(large)):
            pass

        assert (await over(broker.Enqueue(large)))[:2] == ("in_flight_bytes", "1000")
        await broker.Enqueue(pb.EnqueueRequest(items=[item("b")]))

        under_way.cancel()
        # What is larger than all that there may be goes, alone.
        large.items[0].content.payload = b"1" * 2000
        while not await goes(broker.Enqueue(large)):
            pass


async def test_a_principal_is_one_caller_on_all_its_connections_and_may_be_given_more(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with guarded(redis_server, tmp_path, SHOP) as broker:
        await broker.enqueue("web", item("0"))
        calls = {"web": {"calls_per_second": 0.001, "burst": 2}}
        await broker.take(SHOP, calls=calls)
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(broker.server.addresses[0], options=options) as other:
            await broker.enqueue("web", item("1"))
            request = pb.EnqueueRequest(namespace="shop", items=[item("2")])
            await broker_of(other).Enqueue(request, metadata=bearer("web"))

            assert (await over(broker_of(other).Enqueue(request, metadata=bearer("web"))))[0] == "calls_per_second"
        await refused(broker.enqueue("web", item("3")), OVER, reason="CALLER_LIMIT", retry=True)
        # Others are not held to it, and strangers are told that they are.
        await broker.enqueue("ops", item("3"))
        await refused(broker.enqueue("nobody", item("4")), grpc.StatusCode.UNAUTHENTICATED, reason="TOKEN_UNKNOWN")

        await broker.take(SHOP, calls={"web": {"streams": 5}})

        await broker.enqueue("web", item("5"))


async def test_callers_are_forgotten_when_nothing_of_theirs_is_open(redis_server: RedisServer) -> None:
    async with serving(redis_server.url, max_caller_streams=2) as (_, channel):
        admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        await admin.ListQueues(apb.ListQueuesRequest())
    tolls = Tolls(Allowances(CallerLimits(max_calls_per_second=1000)), None)

    class Context:
        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

    account, most = tolls.of(Context())
    account.count_call(most, time.monotonic() - 10)
    account.open_streams = 1
    tolls.tidy()
    assert len(tolls) == 1
    account.open_streams = 0
    tolls.tidy()
    assert len(tolls) == 0


def test_over_a_long_time_as_many_calls_go_through_as_may() -> None:
    account, most = Account(), Allowance(calls_per_second=50, burst=10)
    went = 0
    for tick in range(100_000):
        now = 1000 + tick / 1000
        try:
            account.count_call(most, now)
        except Exception:  # noqa: BLE001 - refused
            continue
        went += 1

    assert 100 * 50 <= went <= 100 * 50 + 10


def test_what_a_principal_leaves_out_is_as_the_settings_say() -> None:
    allowances = Allowances(CallerLimits(max_calls_per_second=7, max_call_burst=3, max_caller_streams=2))

    assert allowances.every == Allowance(7, 3, 2, 0)
    assert allowances.of(CallLimits(calls_per_second=2.5)) == Allowance(2.5, 3, 2, 0)
    assert allowances.of(CallLimits(burst=9, in_flight_bytes=5)) == Allowance(7, 9, 2, 5)
    assert not Allowances(CallerLimits()).any


def test_the_page_about_limits_has_every_limit_of_callers() -> None:
    text = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    flags = {option.name: option.flag for option in options()}
    names = dict(zip(CallerLimits.model_fields, CallLimits.__dataclass_fields__, strict=True))
    for setting, name in names.items():
        assert f"`{flags[setting]}` | `{name}` |" in text
