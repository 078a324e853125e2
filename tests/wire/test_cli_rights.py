"""The `dibs` command for operators who may do some things and not others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dibs.cli.exits import Exit
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support import operating
from ..support.auth import bearer, grant, token_of
from ..support.guarded import Guarded, guarded
from ..support.redis import RedisServer
from .conftest import item
from .statuses import next_of

PRINCIPALS = {
    "web": [grant("shop", "produce")],
    "reader": [grant("shop", "read")],
    "worker": [grant("shop", "consume")],
    "taker": [grant("shop", "destroy", "content")],
    "ops": [grant("shop", "operate", "server")],
}


@pytest.fixture
async def shop(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(redis_server, tmp_path, PRINCIPALS) as broker:
        yield broker


async def run(shop: Guarded, who: str, *args: str) -> operating.Said:
    own = ("--token", token_of(who), "--namespace", "shop")
    return await asyncio.to_thread(operating.dibs, shop.server.addresses[0], *args, *own)


async def test_whoever_may_read_sees_every_list(shop: Guarded) -> None:
    await shop.enqueue("web", item("a", "mail"))
    for command in ("queues", "dead", "schedules", "workers", "known", "locks"):
        said = await run(shop, "reader", command)
        assert (said.code, said.err) == (Exit.OK, ""), command
    said = await run(shop, "reader", "tasks", "mail")
    assert (said.code, "a" in said.out) == (Exit.OK, True)


async def test_what_is_taken_is_shown_to_whoever_may_not_ask_for_the_time(shop: Guarded) -> None:
    dying = item("dying", "mail")
    dying.policy.use_dead_letter = True
    await shop.enqueue("web", dying)
    lease = pb.LeaseRequest(namespace="shop", queues=["mail"], kind=tpb.QUEUE_KIND_TASK)
    reply: pb.LeaseResponse = await next_of(shop.broker.Lease(lease, metadata=bearer("worker")))
    entry = pb.NackEntry(id="dying", lease_token=reply.deliveries[0].lease_token, reason=pb.NACK_REASON_REJECTED)
    await shop.broker.Nack(pb.NackRequest(namespace="shop", entries=[entry]), metadata=bearer("worker"))

    said = await run(shop, "taker", "dead", "take")

    assert (said.code, "dying" in said.out) == (Exit.OK, True), said


async def test_what_is_not_allowed_has_a_code_of_its_own_and_names_role_and_namespace(shop: Guarded) -> None:
    for command in (("namespaces",), ("top", "--once"), ("pause", "mail"), ("show", "a")):
        said = await run(shop, "reader", *command)
        assert said.code == Exit.NOT_ALLOWED, (command, said)
        assert "does not allow this: principal 'reader' does not have the role " in said.err
    said = await run(shop, "nobody", "queues")
    assert said.code == Exit.NOT_ALLOWED
    assert "nobody has this token" in said.err


async def test_doctor_works_for_operators_and_says_what_others_need(shop: Guarded) -> None:
    said = await run(shop, "ops", "doctor")
    assert "does not have the role" not in said.out
    said = await run(shop, "reader", "doctor")
    assert said.code == Exit.NO
    assert "doctor needs the role server" in " ".join(said.out.split())
