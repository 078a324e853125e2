"""Everything at a broker whose user in Redis has the rights that docs/security.md lists, and no others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import redis

import dibs
from dibs.v1 import admin_pb2_grpc, lock_pb2_grpc

from ..support.broker_thread import BrokerThread, serving
from ..support.ports import free_port
from ..support.redis import running
from ..support.redis_user import NAME, PASSWORD, denied, documented_rights, make_user
from ..support.workers import Job, working
from .test_admin_outage import LOCK_REQUESTS, REQUESTS

FINE = (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)


@pytest.fixture
def guarded(redis_program: str) -> Iterator[tuple[BrokerThread, Any]]:
    """A broker that has just those rights, and the Redis's owner."""
    port = free_port()
    with running(redis_program, "--port", str(port)) as server, redis.Redis.from_url(server.url) as raw:
        make_user(raw, documented_rights())
        with serving(f"redis://{NAME}:{PASSWORD}@127.0.0.1:{port}") as broker:
            yield broker, raw


def missed(raw: Any) -> list[str]:
    # Newer clients tell Redis their name unless that is refused, which costs nothing.
    return [what for what in denied(raw) if "client" not in what]


def outcome(call: Any, request: Any) -> grpc.StatusCode:
    try:
        reply = call(request, timeout=20)
        if hasattr(reply, "__next__"):
            list(reply)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def test_every_call_works(guarded: tuple[BrokerThread, Any]) -> None:
    broker, raw = guarded
    with grpc.insecure_channel(broker.target) as channel, dibs.Dibs(broker.target) as app:
        data = dibs.Data("readings", attempts=1, vis_timeout=30, use_dead=True, dibs=app)
        data.put_data([{"n": n} for n in range(50)])
        data.put_data([{"n": 1}], delay=60)
        leased = data.get_data(items=10, get_timeout=0)
        assert len(leased) == 10
        assert data.done_data(leased) == 10
        for stub, requests in (
            (admin_pb2_grpc.AdminServiceStub(channel), REQUESTS),
            (lock_pb2_grpc.LockServiceStub(channel), LOCK_REQUESTS),
        ):
            for method, request in requests.items():
                # What they name is not there, but for some; none fails for want of a right.
                assert outcome(getattr(stub, method), request) in FINE, method
    assert missed(raw) == []


async def test_tasks_run_fail_repeat_and_end_as_dead(guarded: tuple[BrokerThread, Any]) -> None:
    broker, raw = guarded
    ran = threading.Semaphore(0)

    def fine() -> int:
        ran.release()
        return 5

    def broken() -> None:
        raise ValueError("always")

    jobs = {name: Job(name, function) for name, function in (("fine", fine), ("broken", broken))}

    def produce() -> None:
        with dibs.Dibs(broker.target, timeout=20) as app:
            task = app.task(name="fine", save_results=60)(fine)
            failing = app.task(name="broken", attempts=2, vis_timeout=30, retry_delay=0.01, use_dead=True)(broken)
            with app.batch():
                handles = [task.execute() for _ in range(40)]
            late = task.execute(delay=0.05)
            assert [handle.get(timeout=20) for handle in [*handles, late]] == [5] * 41
            handle = failing.execute()
            handle.wait(timeout=20, until="done")
            assert handle.state.name == "DEAD"
            waiting = task.execute(delay=600)
            waiting.cancel()
            with app.lock("a"):
                pass

    async with working(broker.target, jobs):
        await asyncio.to_thread(produce)
    assert missed(raw) == []
