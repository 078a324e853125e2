"""Every method of the broker for everybody with one role: whether it may be called is what the table says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from dibs.broker.border.rights import TABLE, Right
from dibs.broker.config.principals import Role, with_held
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.auth import bearer, grant
from ..support.guarded import Guarded, guarded
from ..support.redis import RedisServer
from ..support.requests import GOOD, METHODS

DENIED = grpc.StatusCode.PERMISSION_DENIED
NOT_ALLOWED = (DENIED, grpc.StatusCode.UNAUTHENTICATED)
TASK = tpb.QUEUE_KIND_TASK
#: Requests that need more than others of their methods.
SPECIAL: dict[str, tuple[str, Message]] = {
    "peek": ("Lease", pb.LeaseRequest(namespace="good", queues=["q"], kind=TASK, peek=True)),
    "result": ("Result", pb.ResultRequest(namespace="good", ids=["a"], include_content=True)),
    "items": (
        "ListItems",
        apb.ListItemsRequest(namespace="good", queue="q", kind=TASK, include_content=True),
    ),
    "letters": (
        "ListDeadLetters",
        apb.ListDeadLettersRequest(namespace="good", kind=TASK, include_content=True),
    ),
}
#: Two roles that are enough together, and not each alone.
TOGETHER = (("read", "content"), ("destroy", "content"))


def principals() -> dict[str, list[Any]]:
    found = {f"{role} here": [grant("*", role)] for role in Role}
    found |= {f"{role} elsewhere": [grant("elsewhere", role)] for role in Role}
    found |= {" and ".join(roles) + " here": [grant("*", *roles)] for roles in TOGETHER}
    return {name.replace(" ", "_"): grants for name, grants in found.items()}


@pytest.fixture
async def broker(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(redis_server, tmp_path, principals()) as broker:
        yield broker


def right_of(name: str) -> Right:
    right = TABLE[METHODS[name].containing_service.full_name, name]
    assert right is not None
    return right


def part_of(message: Any) -> Any:
    """What of a stream's message names a namespace."""
    for part in ("request", "hello"):
        if part in message.DESCRIPTOR.fields_by_name:
            return getattr(message, part)
    return message


def status_of(channel: grpc.Channel, name: str, who: str, messages: Any) -> status_pb2.Status:
    """How a call ends, or for what a request on a stream is refused."""
    method = METHODS[name]
    path = f"/{method.containing_service.full_name}/{name}"
    sent = [message.SerializeToString() for message in messages]
    call: Any = channel.stream_stream if method.client_streaming else channel.unary_stream
    argument = iter(sent) if method.client_streaming else sent[0]
    try:
        replies = list(call(path)(argument, metadata=bearer(who), timeout=20))
    except grpc.RpcError as error:
        found: Any = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # its entries are pairs
        return status_pb2.Status.FromString(found["grpc-status-details-bin"])
    return pb.EnqueueStreamResponse.FromString(replies[-1]).error if name == "EnqueueStream" else status_pb2.Status()


def told(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        detail.Unpack(info)
    return info


CASES = [(name, name, messages) for name, messages in GOOD.items()]
CASES += [(label, name, [message]) for label, (name, message) in SPECIAL.items()]


def test_every_method_is_tried() -> None:
    assert {name for _, name, _ in CASES} == set(METHODS)


@pytest.mark.parametrize(("name", "messages"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_whoever_has_the_role_may_and_nobody_else(broker: Guarded, name: str, messages: list[Any]) -> None:
    # Not the asynchronous face: that one may hide how a stream ended behind a write that came too late.
    with grpc.insecure_channel(broker.server.addresses[0]) as channel:
        await asyncio.to_thread(check, channel, name, messages)


def check(channel: grpc.Channel, name: str, messages: list[Any]) -> None:
    right, request = right_of(name), part_of(messages[0])
    allowed, refused = [], []
    for who in principals():
        *having, where = who.split("_")
        roles = with_held(Role(role) for role in having if role != "and")
        enough = all(not need.isdisjoint(roles) for need in right.needs(request))
        expected = enough and (where == "here" or right.anywhere)
        status = status_of(channel, name, who, messages)
        if expected:
            assert status.code not in {code.value[0] for code in NOT_ALLOWED}, (who, status)
            allowed.append(who)
            continue
        refused.append(who)
        assert status.code == DENIED.value[0], (who, status)
        info = told(status)
        assert info.reason == "MISSING_ROLE"
        assert set(info.metadata["role"].split(",")) & {*right.roles, "content"}, who
        if not right.anywhere and (name != "EnqueueStream" or Role.PRODUCE in roles):
            assert info.metadata["namespace"] == request.namespace
            assert f"in namespace '{request.namespace}'" in status.message
    assert allowed
    assert refused
    assert "admin_here" in allowed
