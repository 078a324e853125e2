"""Locks over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.v1 import lock_pb2 as pb
from dibs.v1 import lock_pb2_grpc

from .statuses import refused

if TYPE_CHECKING:
    LockStub: TypeAlias = lock_pb2_grpc.LockServiceAsyncStub
else:
    LockStub = lock_pb2_grpc.LockServiceStub

FAILED = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def locks(channel: grpc.aio.Channel) -> LockStub:
    """Calls LockService."""
    return cast(LockStub, lock_pb2_grpc.LockServiceStub(channel))


def acquire(name: str = "a lock", owner: str = "me", seconds: int = 30) -> pb.AcquireRequest:
    return pb.AcquireRequest(name=name, owner=owner, duration=Duration(seconds=seconds))


async def test_a_held_lock_is_refused_to_others_at_once(locks: LockStub) -> None:
    held = await locks.Acquire(acquire())
    assert held.owner == "me"
    await refused(locks.Acquire(acquire(owner="you")), FAILED, reason="LOCK_HELD")
    again = await locks.Acquire(acquire(seconds=60))
    assert again.expire_time.ToMicroseconds() > held.expire_time.ToMicroseconds() + 29_000_000


async def test_a_released_lock_is_free_and_only_its_owner_can_release_it(locks: LockStub) -> None:
    await locks.Acquire(acquire())
    assert not (await locks.Release(pb.ReleaseRequest(name="a lock", owner="you"))).released
    assert (await locks.Release(pb.ReleaseRequest(name="a lock", owner="me"))).released
    assert not (await locks.Release(pb.ReleaseRequest(name="a lock", owner="me"))).released
    assert (await locks.Acquire(acquire(owner="you"))).owner == "you"


async def test_an_owner_is_made_if_none_is_named(locks: LockStub) -> None:
    first = await locks.Acquire(pb.AcquireRequest(name="1"))
    second = await locks.Acquire(pb.AcquireRequest(name="2"))
    assert len({first.owner, second.owner, ""}) == 3
    await locks.RefreshLock(pb.RefreshLockRequest(name="1", owner=first.owner))


async def test_a_refresh_lasts_as_long_as_the_lock_was_taken_for(locks: LockStub) -> None:
    held = await locks.Acquire(acquire())
    refreshed = await locks.RefreshLock(pb.RefreshLockRequest(name="a lock", owner="me"))
    gained = refreshed.expire_time.ToMicroseconds() - held.expire_time.ToMicroseconds()
    assert 0 < gained < 10_000_000
    await refused(locks.RefreshLock(pb.RefreshLockRequest(name="a lock", owner="you")), FAILED, reason="LOCK_LOST")
    await refused(locks.RefreshLock(pb.RefreshLockRequest(name="none", owner="me")), FAILED, reason="LOCK_LOST")


async def test_locks_are_listed_by_name_in_pages(locks: LockStub) -> None:
    for name in ("c", "a", "b"):
        await locks.Acquire(acquire(name, f"owner-{name}"))
    first = await locks.ListLocks(pb.ListLocksRequest(page_size=2))
    assert [(lock.name, lock.owner) for lock in first.locks] == [("a", "owner-a"), ("b", "owner-b")]
    rest = await locks.ListLocks(pb.ListLocksRequest(page_token=first.next_page_token))
    assert [lock.name for lock in rest.locks] == ["c"]
    assert not rest.next_page_token
    await refused(
        locks.ListLocks(pb.ListLocksRequest(page_token="x")), grpc.StatusCode.INVALID_ARGUMENT, field="page_token"
    )


async def test_bad_fields_are_named(locks: LockStub) -> None:
    for call, field in (
        (locks.Acquire(pb.AcquireRequest()), "name"),
        (locks.Acquire(pb.AcquireRequest(name="x" * 257)), "name"),
        (locks.Acquire(pb.AcquireRequest(name="x", owner="a b")), "owner"),
        (locks.Acquire(pb.AcquireRequest(name="x", duration=Duration(nanos=1))), "duration"),
        (locks.Acquire(pb.AcquireRequest(name="x", duration=Duration(seconds=31 * 86400))), "duration"),
        (locks.RefreshLock(pb.RefreshLockRequest(name="x")), "owner"),
        (locks.Release(pb.ReleaseRequest(name="x")), "owner"),
    ):
        await refused(call, grpc.StatusCode.INVALID_ARGUMENT, field=field)
