"""The broker's life: health that follows Redis, limits of the transport, and its end."""

from __future__ import annotations

import asyncio
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from dibs.broker.border.listening import CannotListen
from dibs.broker.config.settings import BadSettings, Settings
from dibs.broker.engine.errors import UnsuitableRedis
from dibs.broker.server import Server
from dibs.broker.services import Services
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support.outages import FragileRedis, fragile
from ..support.redis import RedisServer, running
from .conftest import Stub, item
from .streams import Worker

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LONGEST_S = 20.0
#: Of brokers whose Redis goes away.
IMPATIENT = {"redis_timeout": "300ms"}


@pytest.fixture
def fragile_redis(redis_program: str) -> Iterator[FragileRedis]:
    with fragile(redis_program) as server:
        yield server


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Short enough for the path of a socket in it."""
    with tempfile.TemporaryDirectory(prefix="dibs-") as folder:
        yield Path(folder)


def settings(redis_url: str, **others: Any) -> Settings:
    return Settings(**{"redis": redis_url, "listen": ("127.0.0.1:0",), **others})


@asynccontextmanager
async def serving(redis_url: str, **others: Any) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    async with (
        Server(settings(redis_url, **others)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        yield server, channel


def enqueue(channel: grpc.aio.Channel, *items: pb.EnqueueItem) -> Any:
    stub = broker_pb2_grpc.BrokerServiceStub(channel)
    return stub.Enqueue(pb.EnqueueRequest(items=items), timeout=5)


def health_of(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)  # its types know no methods


async def check(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_of(channel)
    status: int = (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status
    return status


async def until_told(watch: Any, status: int) -> None:
    async with asyncio.timeout(LONGEST_S):
        while (await watch.read()).status != status:
            pass


async def test_it_serves_and_says_so_overall_and_for_each_service(redis_server: RedisServer) -> None:
    async with serving(redis_server.url) as (_, channel):
        assert [await check(channel, name) for name in ("", *Services.names)] == [SERVING] * (1 + len(Services.names))
        assert (await enqueue(channel, item("a"))).items[0].id == "a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, "dibs.v1.Nothing")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_lists_what_there_is(redis_server: RedisServer) -> None:
    messages: Any = health_pb2
    async with serving(redis_server.url) as (_, channel):
        listed = (await health_of(channel).List(messages.HealthListRequest())).statuses
        assert {name: one.status for name, one in listed.items()} == dict.fromkeys(("", *Services.names), SERVING)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x01\xff"])
@pytest.mark.parametrize(
    "method",
    [
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1alpha.ServerReflection/*",
        "grpc.reflection.v1.ServerReflection/*",
    ],
)
async def test_bytes_that_are_no_message_are_told_so(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, method: str, data: bytes
) -> None:
    async with serving(redis_server.url) as (_, channel):
        path = "/" + method.replace("*", "ServerReflectionInfo")
        raw: Any = channel
        call = raw.stream_stream(path)(iter([data])) if method.endswith("*") else raw.unary_stream(path)(data)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), LONGEST_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "is no message of type grpc." in (caught.value.details() or "")
    assert not [record for record in caplog.records if record.exc_info]


async def test_reflection_does_not_repeat_long_questions(redis_server: RedisServer) -> None:
    async with serving(redis_server.url) as (_, channel):
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub
        question = reflection_pb2.ServerReflectionRequest(file_by_filename="x" * 4_000_000)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflection(channel).ServerReflectionInfo(iter([question])).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_health_follows_redis_and_recovers_by_itself(fragile_redis: FragileRedis) -> None:
    async with serving(fragile_redis.url, **IMPATIENT) as (_, channel):
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest(service=Services.names[0]))
        await until_told(watch, SERVING)
        fragile_redis.kill()
        await until_told(watch, NOT_SERVING)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await enqueue(channel, item("a"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_of(caught.value) is not None
        fragile_redis.start()
        await until_told(watch, SERVING)
        assert (await enqueue(channel, item("b"))).items[0].id == "b"
        watch.cancel()


async def test_a_redis_that_does_not_answer_is_noticed_too(fragile_redis: FragileRedis) -> None:
    async with serving(fragile_redis.url, **IMPATIENT) as (_, channel):
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest())
        await until_told(watch, SERVING)
        fragile_redis.freeze()
        await until_told(watch, NOT_SERVING)
        fragile_redis.thaw()
        await until_told(watch, SERVING)
        watch.cancel()


async def test_it_starts_without_its_redis_and_serves_once_that_is_there(fragile_redis: FragileRedis) -> None:
    fragile_redis.kill()
    async with serving(fragile_redis.url, **IMPATIENT) as (_, channel):
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest())
        await until_told(watch, NOT_SERVING)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await enqueue(channel, item("a"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_of(caught.value) is not None
        assert "Redis" in (caught.value.details() or "")
        fragile_redis.start()
        await until_told(watch, SERVING)
        assert (await enqueue(channel, item("a"))).items[0].id == "a"
        watch.cancel()


async def test_an_unfit_redis_is_refused(redis_program: str, tmp_path: Path) -> None:
    with (
        running(redis_program, "--maxmemory-policy", "allkeys-lru") as unfit,
        pytest.raises(UnsuitableRedis, match="maxmemory-policy"),
    ):
        await Server(settings(unfit.url)).start()


async def test_its_end_comes_in_order(redis_server: RedisServer) -> None:
    """NOT_SERVING while everything still works, then the streams end, then the listener closes."""
    async with serving(redis_server.url, drain_delay="3s") as (server, channel):
        stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest())
        await until_told(watch, SERVING)
        work = stub.Work()
        await work.write(pb.WorkRequest(hello=pb.WorkHello(kind=tpb.QUEUE_KIND_TASK, worker_id="w"), add_credit=1))
        lease = stub.Lease(pb.LeaseRequest(kind=tpb.QUEUE_KIND_DATA, max_items=1, get_timeout=Duration(seconds=60)))
        stopping = asyncio.create_task(server.stop())
        await until_told(watch, NOT_SERVING)
        # The listener is still there, for those who have not looked yet.
        async with grpc.aio.insecure_channel(server.addresses[0]) as late:
            assert await check(late) == NOT_SERVING
            assert (await enqueue(late, item("late"))).items[0].id == "late"
        async with asyncio.timeout(LONGEST_S):
            while not (await work.read()).drain:
                pass
            await work.done_writing()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await lease.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await watch.read() is grpc.aio.EOF
            await stopping
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port_of(server)), 1)


async def test_a_stop_may_come_twice_and_before_a_start(redis_server: RedisServer) -> None:
    server = Server(settings(redis_server.url))
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()


async def test_a_taken_port_is_one_sentence_and_nothing_is_left_running(redis_server: RedisServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen, match=f"cannot listen on {address}: address already in use"):
            await Server(settings(redis_server.url, listen=(address,))).start()
    assert len(asyncio.all_tasks()) == 1


async def test_two_brokers_do_not_share_a_port(redis_server: RedisServer) -> None:
    async with serving(redis_server.url) as (first, _):
        with pytest.raises(CannotListen, match="in use"):
            await Server(settings(redis_server.url, listen=first.addresses)).start()


async def test_it_listens_on_several_addresses_and_sockets(redis_server: RedisServer, short_folder: Path) -> None:
    where = f"unix:{short_folder}/broker.sock"
    async with serving(redis_server.url, listen=(where, "127.0.0.1:0")) as (server, channel):
        assert server.addresses[0] == where
        assert await check(channel) == SERVING
        async with grpc.aio.insecure_channel(server.addresses[1]) as other:
            assert await check(other) == SERVING
        with pytest.raises(CannotListen, match="another process listens there"):
            await Server(settings(redis_server.url, listen=(where,))).start()
    assert not (short_folder / "broker.sock").exists()


async def test_a_socket_left_behind_is_replaced_and_a_file_is_not(
    redis_server: RedisServer, short_folder: Path
) -> None:
    left = short_folder / "left.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(left))
    assert stat.S_ISSOCK(left.stat().st_mode)
    async with serving(redis_server.url, listen=(f"unix:{left}",)) as (_, channel):
        assert await check(channel) == SERVING
    left.write_text("precious")
    with pytest.raises(CannotListen, match="no socket"):
        await Server(settings(redis_server.url, listen=(f"unix:{left}",))).start()
    assert left.read_text() == "precious"


@pytest.mark.parametrize(
    ("address", "reason"),
    [("unix:/no/such/folder/s", "there is no folder"), ("203.0.113.1:0", "cannot assign")],
)
async def test_an_address_of_somewhere_else_is_said_so(redis_server: RedisServer, address: str, reason: str) -> None:
    with pytest.raises(CannotListen, match=f"cannot listen on {address}: .*{reason}"):
        await Server(settings(redis_server.url, listen=(address,), insecure=True)).start()


async def test_a_message_that_is_too_large_is_refused_and_the_broker_serves_on(redis_server: RedisServer) -> None:
    async with serving(redis_server.url) as (_, channel):
        large = [item(f"i{n}") for n in range(40)]
        for one in large:
            one.content.payload = b"x" * 128 * 1024
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await enqueue(channel, *large)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await enqueue(channel, item("a"))).items[0].id == "a"


async def test_the_ready_file_holds_the_addresses_while_it_listens(redis_server: RedisServer, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    async with serving(redis_server.url, ready_file=ready) as (server, _):
        assert ready.read_text().split() == list(server.addresses)
        assert [path.name for path in tmp_path.iterdir()] == ["ready"]
    assert not ready.exists()
    with pytest.raises(BadSettings, match=r"--ready-file .* cannot be written: No such"):
        await Server(settings(redis_server.url, ready_file=tmp_path / "none" / "ready")).start()


async def test_without_a_named_redis_it_runs_a_private_one(tmp_path: Path) -> None:
    private = Settings(listen=("127.0.0.1:0",), data_dir=tmp_path)
    async with Server(private) as server, grpc.aio.insecure_channel(server.addresses[0]) as channel:
        assert await check(channel) == SERVING
        await enqueue(channel, item("kept"))
    async with Server(private) as server, grpc.aio.insecure_channel(server.addresses[0]) as channel:
        stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        found = await stub.Result(pb.ResultRequest(ids=["kept"]))
        assert found.results[0].state == tpb.ITEM_STATE_WAITING


def retry_of(error: grpc.aio.AioRpcError) -> error_details_pb2.RetryInfo | None:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for packed in status.details if status else ():
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(retry):
            return retry
    return None


def port_of(server: Server) -> int:
    return int(server.addresses[0].rpartition(":")[2])


@pytest.mark.parametrize("grace", ["0s", "3s"])
async def test_a_broker_that_leaves_without_redis_gives_up_in_time_and_says_what_that_means(
    fragile_redis: FragileRedis, caplog: pytest.LogCaptureFixture, grace: str
) -> None:
    loop = asyncio.get_running_loop()
    async with serving(fragile_redis.url, grace=grace, drain_delay="0s") as (server, channel):
        worker = Worker(cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel)))
        await enqueue(channel, item("a"))
        await worker.items()
        fragile_redis.freeze()
        worker.call.cancel()
        began = loop.time()
        await server.stop()
        took_s = loop.time() - began
        fragile_redis.thaw()
    assert "1 items come back when their leases run out, their attempts unused" in caplog.text
    # The grace, but 2 s at least; and closing what is left at a Redis that does not answer.
    trying_s = 2 if grace == "0s" else 3
    assert trying_s - 0.5 < took_s < trying_s + 10
