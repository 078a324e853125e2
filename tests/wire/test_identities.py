"""Who calls, and what they may do: principals at a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dibs.broker.config.auth_file import BadAuthFile
from dibs.broker.config.settings import Settings
from dibs.broker.server import Server
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc

from ..support.auth import bearer, grant, token_of, write_auth_file
from ..support.certificates import Authority, replace
from ..support.guarded import Guarded, guarded
from ..support.redis import RedisServer
from .conftest import item
from .statuses import next_of, refused

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
LONGEST_S = 20.0

SHOP = {
    "web": [grant("shop", "produce")],
    "worker": [grant("shop", "consume")],
    "ops": [grant("*", "admin")],
}


@pytest.fixture
async def shop(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(redis_server, tmp_path, SHOP) as broker:
        yield broker


async def test_a_call_without_a_token_is_told_that_one_is_missing(shop: Guarded) -> None:
    await refused(shop.broker.Enqueue(pb.EnqueueRequest(items=[item("a")])), UNAUTHENTICATED, reason="TOKEN_MISSING")


@pytest.mark.parametrize("value", ["Bearer dibs_other", "Bearer ", "Basic d2ViOndlYg==", token_of("web"), ""])
async def test_a_token_that_nobody_has_is_told_as_such(shop: Guarded, value: str) -> None:
    call = shop.broker.Enqueue(pb.EnqueueRequest(items=[item("a")]), metadata=(("authorization", value),))
    await refused(call, UNAUTHENTICATED, reason="TOKEN_UNKNOWN")


async def test_whoever_has_the_role_may_call_in_its_namespace_only(shop: Guarded) -> None:
    assert (await shop.enqueue("web", item("a"))).items[0].outcome == pb.ENQUEUE_OUTCOME_CREATED
    await refused(shop.enqueue("web", item("a"), namespace="other"), DENIED, reason="MISSING_ROLE")
    await refused(shop.enqueue("web", item("a"), namespace=""), DENIED, reason="MISSING_ROLE")
    await refused(shop.enqueue("worker", item("a")), DENIED, reason="MISSING_ROLE")


async def test_who_is_not_known_costs_no_more_than_bytes(shop: Guarded) -> None:
    call: Any = shop.channel.unary_unary("/dibs.v1.BrokerService/Enqueue")
    await refused(call(b"no message"), UNAUTHENTICATED, reason="TOKEN_MISSING")
    await refused(call(b"no message", metadata=bearer("web")), grpc.StatusCode.INVALID_ARGUMENT)


async def test_probes_need_no_token_and_watchers_do(shop: Guarded) -> None:
    health: Any = health_pb2_grpc.HealthStub(shop.channel)
    request = health_pb2.HealthCheckRequest()
    assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    await refused(health.Watch(request).read(), UNAUTHENTICATED, reason="TOKEN_MISSING")
    await refused(health.Watch(request, metadata=bearer("web")).read(), DENIED, reason="MISSING_ROLE")
    watch = health.Watch(request, metadata=bearer("ops"))
    assert (await next_of(watch)).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


async def test_tokens_are_changed_without_a_failed_call(shop: Guarded) -> None:
    old, new = (("authorization", "Bearer old"),), (("authorization", "bearer new"),)
    request = pb.CancelRequest(namespace="shop", ids=["x"])
    for tokens, works in ((["old"], [old]), (["old", "new"], [old, new]), (["new"], [new])):
        await shop.take(SHOP, tokens={"web": tokens})
        for metadata in works:
            await shop.broker.Cancel(request, metadata=metadata)
    await refused(shop.broker.Cancel(request, metadata=old), UNAUTHENTICATED, reason="TOKEN_UNKNOWN")


async def test_no_call_fails_while_tokens_are_changed(shop: Guarded) -> None:
    tokens = ["first"]
    await shop.take(SHOP, tokens={"web": tokens})
    made = [0, 0, 0, 0]
    another, over = asyncio.Event(), asyncio.Event()

    async def call_on(number: int) -> None:
        while not over.is_set():
            metadata = (("authorization", f"Bearer {tokens[-1]}"),)
            await shop.broker.Cancel(pb.CancelRequest(namespace="shop", ids=["x"]), metadata=metadata)
            made[number] += 1
            another.set()

    calling = [asyncio.create_task(call_on(number)) for number in range(len(made))]
    for number in range(5):
        following = f"token {number}"
        await shop.take(SHOP, tokens={"web": [tokens[-1], following]})
        tokens.append(following)
        # Calls that were begun with the old one are over.
        before = list(made)
        async with asyncio.timeout(LONGEST_S):
            while min(now - then for now, then in zip(made, before, strict=True)) < 2:
                another.clear()
                await another.wait()
        await shop.take(SHOP, tokens={"web": [following]})
    over.set()
    await asyncio.gather(*calling)


async def test_a_file_that_does_not_serve_keeps_what_was_read_before(shop: Guarded) -> None:
    async def advice(present: bool) -> str:
        async with asyncio.timeout(LONGEST_S):
            while True:
                info = await shop.admin.GetServerInfo(apb.GetServerInfoRequest(), metadata=bearer("ops"))
                said: dict[str, str] = {advice.reason: advice.text for advice in info.advices}
                if ("AUTH_FILE_UNUSABLE" in said) is present:
                    return said.get("AUTH_FILE_UNUSABLE", "")

    shop.path.write_text("[[principal]]\nname = 1\n")
    shop.server.look_at_files()
    assert await advice(True) == f"--auth-file {shop.path}: principal[0].name: input should be a valid string"
    await shop.enqueue("web", item("a"))

    write_auth_file(shop.path, SHOP)
    shop.server.look_at_files()
    await advice(False)
    await shop.enqueue("web", item("a"))


async def test_reflection_can_be_switched_off(redis_server: RedisServer, tmp_path: Path) -> None:
    async with guarded(redis_server, tmp_path, SHOP, reflection=False) as shop:
        for version in ("v1", "v1alpha"):
            method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            call: Any = shop.channel.stream_stream(method)(metadata=bearer("ops"))
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_tokens_in_plaintext_for_other_hosts_are_warned_of(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded(redis_server, tmp_path, SHOP, listen=("127.0.0.1:0", "0.0.0.0:0"), insecure=True):
        said = [record.getMessage() for record in caplog.records if "in plaintext" in record.getMessage()]
    assert said == ["on 0.0.0.0:0 tokens travel in plaintext: whoever sees them can use them (--insecure)"]


async def test_a_unix_socket_asks_who_calls_like_every_other_address(redis_server: RedisServer, tmp_path: Path) -> None:
    socket = f"unix:{tmp_path / 'socket'}"
    async with guarded(redis_server, tmp_path, SHOP, listen=(socket,)) as shop:
        await refused(shop.broker.Result(pb.ResultRequest(ids=["a"])), UNAUTHENTICATED, reason="TOKEN_MISSING")
        await shop.enqueue("web", item("a"))


async def test_without_a_file_tokens_mean_nothing(redis_server: RedisServer) -> None:
    settings: dict[str, Any] = {"redis": redis_server.url, "listen": ("127.0.0.1:0",)}
    async with Server(Settings(**settings)) as server, grpc.aio.insecure_channel(server.addresses[0]) as channel:
        stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        for metadata in (None, bearer("nobody")):
            request = pb.EnqueueRequest(namespace="shop", items=[item("a")])
            assert (await stub.Enqueue(request, metadata=metadata)).items


async def test_a_broker_does_not_start_with_a_file_that_does_not_serve(tmp_path: Path) -> None:
    path = tmp_path / "auth.toml"
    path.write_text("[[principal]]\n")
    settings: dict[str, Any] = {"redis": "redis://127.0.0.1:1", "listen": ("127.0.0.1:0",), "auth_file": path}
    with pytest.raises(BadAuthFile, match=r"principal\[0\].name: field required"):
        await Server(Settings(**settings)).start()


CERTIFIED = {
    "spiffe": ["spiffe://prod/web"],
    "host": ["web.example"],
    "address": ["10.1.2.3"],
    "common": ["CN=tested"],
}


@pytest.mark.parametrize(
    ("names", "who"),
    [
        (["web.example", "spiffe://prod/web"], "spiffe"),
        (["other.example", "web.example"], "host"),
        (["10.1.2.3"], "address"),
        (["stranger.example"], "common"),
    ],
)
async def test_a_client_certificate_says_who_calls(
    redis_server: RedisServer, tmp_path: Path, names: list[str], who: str
) -> None:
    authority, clients = Authority(), Authority("of clients")
    cert, key = authority.pair().write(tmp_path)
    ca = replace(tmp_path / "clients.pem", clients.pem)
    principals = {name: [grant(name, "produce")] for name in (*CERTIFIED, "token")}
    tls = {"tls_cert": cert, "tls_key": key, "tls_client_ca": ca}
    async with guarded(redis_server, tmp_path, principals, **tls) as shop:
        await shop.take(principals, certificates=CERTIFIED)
        pair = clients.pair(*names)
        credentials = grpc.ssl_channel_credentials(authority.pem, pair.key, pair.cert)
        target = shop.server.addresses[0].replace("127.0.0.1", "localhost")
        async with grpc.aio.secure_channel(target, credentials) as channel:
            stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)

            async def may(namespace: str, metadata: Any = None) -> bool:
                request = pb.EnqueueRequest(namespace=namespace, items=[item("a")])
                call = stub.Enqueue(request, metadata=metadata, timeout=LONGEST_S)
                code: grpc.StatusCode = await call.code()
                assert code in (grpc.StatusCode.OK, DENIED, UNAUTHENTICATED)
                return code is grpc.StatusCode.OK

            assert [name for name in principals if await may(name)] == [who]
            # A token goes before it, and one that nobody has is not made up for by it.
            assert [name for name in principals if await may(name, bearer("token"))] == ["token"]
            assert [name for name in principals if await may(name, bearer("nobody"))] == []

            await shop.take(principals, certificates={})
            call = stub.Enqueue(pb.EnqueueRequest(namespace=who, items=[item("a")]))
            await refused(call, UNAUTHENTICATED, reason="TOKEN_MISSING")
