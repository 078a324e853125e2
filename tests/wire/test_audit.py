"""The audit log of a real broker: who did what, who was refused; and who has put an item."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dibs.broker.border import auditing
from dibs.broker.border.rights import TABLE
from dibs.broker.config.settings import Settings
from dibs.broker.server import Server
from dibs.contract.headers import PRINCIPAL
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.auth import bearer, grant, write_auth_file
from ..support.redis import RedisServer
from ..support.waiting import until
from .conftest import item
from .statuses import refused

DENIED = grpc.StatusCode.PERMISSION_DENIED
TASK = tpb.QUEUE_KIND_TASK
PRINCIPALS = {
    "web": [grant("shop", "produce")],
    "other": [grant("shop", "produce", "content", "read")],
    "ops": [grant("*", "admin")],
    "mail": [grant("shop", "produce", queues=["mail"])],
}


class Audited:
    """A broker with an audit log."""

    def __init__(self, server: Server, channel: grpc.aio.Channel, path: Path) -> None:
        self.server = server
        self.path = path
        self.channel = channel
        self.stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(channel)

    async def lines(self, count: int) -> list[dict[str, Any]]:
        """What it has said, when there are so many lines, or more."""

        def written() -> list[str]:
            return self.path.read_text().splitlines() if self.path.exists() else []

        await asyncio.to_thread(until, lambda: len(written()) >= count)
        return [json.loads(line) for line in written()]


@asynccontextmanager
async def audited(redis: RedisServer, folder: Path, **settings: Any) -> AsyncIterator[Audited]:
    path = folder / "audit.log"
    given = {"redis": redis.url, "listen": ("127.0.0.1:0",), "audit_log": str(path), **settings}
    async with (
        Server(Settings(**given)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        yield Audited(server, channel, path)


@pytest.fixture
async def shop(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Audited]:
    async with audited(redis_server, tmp_path, auth_file=write_auth_file(tmp_path / "auth", PRINCIPALS)) as broker:
        yield broker


async def test_calls_that_operate_destroy_and_look_at_the_broker_are_told(shop: Audited) -> None:
    ops = bearer("ops")
    put = pb.EnqueueRequest(namespace="shop", items=[item("a"), item("b")])
    await shop.stub.Enqueue(put, metadata=bearer("web"))
    await shop.admin.PauseQueue(apb.PauseQueueRequest(namespace="shop", queue="q", kind=TASK), metadata=ops)
    await shop.admin.DeleteItems(apb.DeleteItemsRequest(namespace="shop", ids=["a", "x"]), metadata=ops)
    async for _ in shop.admin.ClearQueue(apb.ClearQueueRequest(namespace="shop", queue="q", kind=TASK), metadata=ops):
        pass
    await shop.admin.GetServerInfo(apb.GetServerInfoRequest(), metadata=ops)
    await shop.stub.Cancel(pb.CancelRequest(namespace="shop", ids=["b"]), metadata=bearer("web"))
    lines = await shop.lines(5)
    told = ("principal", "method", "namespace", "queue", "ids", "outcome", "reason")
    assert [tuple(line[name] for name in told) for line in lines] == [
        ("ops", "dibs.v1.AdminService/PauseQueue", "shop", "q", None, "OK", None),
        ("ops", "dibs.v1.AdminService/DeleteItems", "shop", None, 2, "OK", None),
        ("ops", "dibs.v1.AdminService/ClearQueue", "shop", "q", None, "OK", None),
        ("ops", "dibs.v1.AdminService/GetServerInfo", None, None, None, "OK", None),
        ("web", "dibs.v1.BrokerService/Cancel", "shop", None, 1, "OK", None),
    ]
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in lines)
    assert all(line["time"].endswith("Z") and line["seconds"] >= 0 for line in lines)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


async def test_refusals_of_every_method_are_told(shop: Audited) -> None:
    put = pb.EnqueueRequest(namespace="other", items=[item("a")], request_id="r")
    await refused(shop.stub.Enqueue(put, metadata=bearer("web")), DENIED)
    await refused(shop.stub.Enqueue(put), grpc.StatusCode.UNAUTHENTICATED)
    await refused(shop.stub.Enqueue(put, metadata=bearer("nobody")), grpc.StatusCode.UNAUTHENTICATED)
    pause = apb.PauseQueueRequest(namespace="shop", queue="secret", kind=TASK)
    await refused(shop.admin.PauseQueue(pause, metadata=bearer("web")), DENIED)
    work = shop.stub.Work(metadata=bearer("web"))
    await work.write(pb.WorkRequest(hello=pb.WorkHello(namespace="shop", kind=TASK, worker_id="w")))
    await refused(work.read(), DENIED)
    told = ("principal", "method", "namespace", "outcome", "reason")
    assert [tuple(line[name] for name in told) for line in await shop.lines(5)] == [
        ("web", "dibs.v1.BrokerService/Enqueue", "other", "PERMISSION_DENIED", "MISSING_ROLE"),
        (None, "dibs.v1.BrokerService/Enqueue", None, "UNAUTHENTICATED", "TOKEN_MISSING"),
        (None, "dibs.v1.BrokerService/Enqueue", None, "UNAUTHENTICATED", "TOKEN_UNKNOWN"),
        ("web", "dibs.v1.AdminService/PauseQueue", "shop", "PERMISSION_DENIED", "MISSING_ROLE"),
        ("web", "dibs.v1.BrokerService/Work", "shop", "PERMISSION_DENIED", "MISSING_ROLE"),
    ]


async def test_where_calls_are_limited_refusals_are_told_as_well(redis_server: RedisServer, tmp_path: Path) -> None:
    file = write_auth_file(tmp_path / "auth", PRINCIPALS, calls={"ops": {"calls_per_second": 0.01}})
    async with audited(redis_server, tmp_path, auth_file=file) as shop:
        delete = apb.DeleteItemsRequest(namespace="shop", ids=["a"])
        await refused(shop.admin.DeleteItems(delete), grpc.StatusCode.UNAUTHENTICATED)
        await refused(shop.admin.DeleteItems(delete, metadata=bearer("nobody")), grpc.StatusCode.UNAUTHENTICATED)
        stream = shop.stub.EnqueueStream(metadata=bearer("nobody"))
        await refused(stream.read(), grpc.StatusCode.UNAUTHENTICATED)
        await shop.admin.DeleteItems(delete, metadata=bearer("ops"))
        await refused(shop.admin.DeleteItems(delete, metadata=bearer("ops")), grpc.StatusCode.RESOURCE_EXHAUSTED)
        told = ("principal", "method", "outcome", "reason")
        assert [tuple(line[name] for name in told) for line in await shop.lines(5)] == [
            (None, "dibs.v1.AdminService/DeleteItems", "UNAUTHENTICATED", "TOKEN_MISSING"),
            (None, "dibs.v1.AdminService/DeleteItems", "UNAUTHENTICATED", "TOKEN_UNKNOWN"),
            (None, "dibs.v1.BrokerService/EnqueueStream", "UNAUTHENTICATED", "TOKEN_UNKNOWN"),
            ("ops", "dibs.v1.AdminService/DeleteItems", "OK", None),
            ("ops", "dibs.v1.AdminService/DeleteItems", "RESOURCE_EXHAUSTED", "CALLER_LIMIT"),
        ]


async def test_the_queue_that_a_caller_is_not_told_is_told_here(shop: Audited) -> None:
    await shop.stub.Enqueue(pb.EnqueueRequest(namespace="shop", items=[item("a")]), metadata=bearer("web"))
    await refused(shop.stub.Cancel(pb.CancelRequest(namespace="shop", ids=["a"]), metadata=bearer("mail")), DENIED)
    [line] = await shop.lines(1)
    assert (line["principal"], line["queue"], line["outcome"]) == ("mail", "q", "PERMISSION_DENIED")


async def test_refusals_of_health_and_reflection_are_told(shop: Audited) -> None:
    method = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    look: Any = shop.channel.stream_stream(f"/{method}")
    await refused(look().read(), grpc.StatusCode.UNAUTHENTICATED)
    health: Any = health_pb2_grpc.HealthStub(shop.channel)
    await refused(health.Watch(health_pb2.HealthCheckRequest(), metadata=bearer("web")).read(), DENIED)
    # Probes are nothing to tell of.
    await health.Check(health_pb2.HealthCheckRequest())
    assert [(line["principal"], line["method"], line["outcome"]) for line in await shop.lines(2)] == [
        (None, method, "UNAUTHENTICATED"),
        ("web", "grpc.health.v1.Health/Watch", "PERMISSION_DENIED"),
    ]


async def test_refused_requests_of_a_stream_that_goes_on_are_told(shop: Audited) -> None:
    stream = shop.stub.EnqueueStream(metadata=bearer("web"))
    for namespace in ("other", "shop"):
        request = pb.EnqueueRequest(namespace=namespace, items=[item(namespace)])
        await stream.write(pb.EnqueueStreamRequest(request=request))
    assert (await stream.read()).HasField("error")
    assert (await stream.read()).HasField("response")
    await stream.done_writing()
    [line] = await shop.lines(1)
    assert (line["principal"], line["method"]) == ("web", "dibs.v1.BrokerService/EnqueueStream")
    assert (line["namespace"], line["outcome"]) == ("other", "PERMISSION_DENIED")


async def test_failures_of_what_is_told_have_their_status(shop: Audited) -> None:
    request = apb.ClearQueueRequest(namespace="shop", queue="none", kind=TASK)
    await refused(shop.admin.ClearQueue(request, metadata=bearer("ops")).read(), grpc.StatusCode.NOT_FOUND)
    [line] = await shop.lines(1)
    assert (line["queue"], line["outcome"], line["reason"]) == ("none", "NOT_FOUND", "NOT_FOUND")


async def test_calls_that_are_given_up_are_told_as_cancelled(shop: Audited) -> None:
    put = pb.EnqueueRequest(namespace="shop", items=[item("a")])
    await shop.stub.Enqueue(put, metadata=bearer("web"))
    request = apb.FlushRequest(namespace="shop", report_interval=Duration(nanos=100_000_000))
    flush = shop.admin.Flush(request, metadata=bearer("ops"))
    await flush.read()
    flush.cancel()
    [line] = await shop.lines(1)
    assert (line["method"], line["outcome"]) == ("dibs.v1.AdminService/Flush", "CANCELLED")


async def test_nothing_of_payloads_and_tokens_is_told(shop: Audited) -> None:
    secret = item("a")
    secret.content.payload = b'"secret"'
    put = pb.EnqueueRequest(namespace="other", items=[secret])
    await refused(shop.stub.Enqueue(put, metadata=bearer("web")), DENIED)
    take = apb.TakeDeadLettersRequest(namespace="shop", kind=TASK, max_items=1, request_id="r-1")
    await shop.admin.TakeDeadLetters(take, metadata=bearer("ops"))
    refusal, taken = await shop.lines(2)
    assert taken["request_id"] == "r-1"
    assert "secret" not in json.dumps(refusal)
    assert "token" not in json.dumps([refusal, taken]).lower()


async def test_without_principals_the_same_calls_are_told(redis_server: RedisServer, tmp_path: Path) -> None:
    async with audited(redis_server, tmp_path) as broker:
        await broker.stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
        await broker.admin.DeleteItems(apb.DeleteItemsRequest(ids=["a"]))
        [line] = await broker.lines(1)
        assert (line["principal"], line["namespace"], line["ids"]) == (None, "default", 1)


async def test_what_is_lost_is_told_to_operators(redis_server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    async with audited(redis_server, tmp_path, audit_log=str(tmp_path / "full")) as broker:
        info = await broker.admin.GetServerInfo(apb.GetServerInfoRequest())
        audit = broker.server._audit
        assert audit is not None
        await asyncio.to_thread(until, lambda: audit.complaint)
        info = await broker.admin.GetServerInfo(apb.GetServerInfoRequest())
        [said] = [advice for advice in info.advices if advice.reason == "AUDIT_LOG_LOST"]
        assert "No space left on device, 0 lines of the audit log were lost" in said.text
        audit._stopping.set()


def test_every_method_is_told_or_is_not_by_what_it_needs() -> None:
    told = {name for (_, name), right in TABLE.items() if auditing.is_told(right)}
    assert told >= {
        "PauseQueue",
        "SetPriority",
        "DeleteItems",
        "ClearQueue",
        "DeleteNamespace",
        "Cancel",
        "GetServerInfo",
    }
    assert told.isdisjoint({"Enqueue", "Lease", "Work", "Ack", "Result", "ListQueues", "Check", "Watch", "Acquire"})


# Who has put an item


async def content_of(broker: Audited, id: str) -> tpb.Content:
    request = pb.ResultRequest(namespace="shop", ids=[id], include_content=True)
    found: pb.ResultResponse = await broker.stub.Result(request, metadata=bearer("other"))
    return found.results[0].content


async def test_items_say_who_has_put_them_whatever_their_producer_says(shop: Audited) -> None:
    plain, forged, headed = item("plain"), item("forged"), item("headed")
    forged.content.headers[PRINCIPAL] = "ops"
    headed.content.headers["trace"] = "x"
    put = pb.EnqueueRequest(namespace="shop", items=[plain, forged, headed])
    await shop.stub.Enqueue(put, metadata=bearer("web"))
    stream = shop.stub.EnqueueStream(metadata=bearer("other"))
    await stream.write(pb.EnqueueStreamRequest(request=pb.EnqueueRequest(namespace="shop", items=[item("streamed")])))
    await stream.read()
    await stream.done_writing()
    assert dict((await content_of(shop, "plain")).headers) == {PRINCIPAL: "web"}
    assert dict((await content_of(shop, "forged")).headers) == {PRINCIPAL: "web"}
    assert dict((await content_of(shop, "headed")).headers) == {PRINCIPAL: "web", "trace": "x"}
    assert dict((await content_of(shop, "streamed")).headers) == {PRINCIPAL: "other"}
    assert (await content_of(shop, "plain")).payload == plain.content.payload


async def test_without_principals_nobody_can_say_that_he_is_one(stub: Any) -> None:
    forged = item("forged")
    forged.content.headers.update({PRINCIPAL: "ops", "trace": "x"})
    await stub.Enqueue(pb.EnqueueRequest(items=[forged, item("plain")]))
    found = (await stub.Result(pb.ResultRequest(ids=["forged", "plain"], include_content=True))).results
    assert dict(found[0].content.headers) == {PRINCIPAL: "", "trace": "x"}
    assert dict(found[1].content.headers) == {}
