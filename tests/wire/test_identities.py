"""Who calls, and what they may do: principals at a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb

from ..support.auth import bearer, grant, token_of, write_auth_file
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
