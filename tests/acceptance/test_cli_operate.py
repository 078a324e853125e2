"""The operator's commands for what goes on: schedules, workers, locks, the live view, the doctor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from dibs.cli.exits import Exit
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support import operating
from ..support.operating import Command, Consumer
from ..support.outages import fragile
from ..support.processes import Broker, running_broker


@pytest.fixture(scope="module")
def broker(redis_programs: dict[int, str]) -> Iterator[Broker]:
    with operating.newest_broker(redis_programs) as started:
        yield started


@pytest.fixture
def consumer(broker: Broker) -> Iterator[Consumer]:
    with Consumer(broker.address) as made:
        yield made


@pytest.fixture
def dibs(broker: Broker) -> Command:
    return Command(broker.address)


def test_schedules_are_made_listed_and_removed(dibs: Command) -> None:
    dibs("schedules", "put", "nightly", "--cron", "0 3 * * *", "--time-zone", "Europe/Vienna", "--args", "[1]")
    dibs("schedules", "put", "often", "--every", "90s", "--name", "often/1")
    found = dibs.json("schedules")["schedules"]
    assert [one["schedule"]["name"] for one in found] == ["nightly", "often/1"]
    assert found[0]["schedule"]["content"]["payload"] == {"args": [1], "kwargs": {}}
    assert found[1]["schedule"]["interval_seconds"] == 90
    said = dibs("schedules", "list").out
    assert "0 3 * * * Europe/Vienna" in said
    assert "every 1 m 30 s" in said
    assert "cron" in dibs("schedules", "put", "x", "--cron", "61 * * * *", code=Exit.USAGE).err
    gone = dibs.json("schedules", "delete", "nightly", "often/1", "x", code=Exit.NOT_FOUND)
    assert gone == {"deleted_names": ["nightly", "often/1"], "unknown_names": ["x"]}
    assert dibs("schedules").out == "no schedules in namespace default\n"


def test_workers_are_listed_while_they_are_connected(dibs: Command, consumer: Consumer) -> None:
    ended = threading.Event()

    def messages() -> Iterator[pb.WorkRequest]:
        hello = pb.WorkHello(queues=["w"], kind=tpb.QUEUE_KIND_TASK, worker_id="by-hand:1", task_names=["a", "b"])
        yield pb.WorkRequest(hello=hello, add_credit=7)
        ended.wait(30)

    call = consumer.stub.Work(messages(), timeout=60)
    reader = threading.Thread(target=lambda: list(call))
    reader.start()
    try:
        workers: list[Any] = []
        while not workers:
            workers = dibs.json("workers")["workers"]
        [worker] = workers
        assert (worker["worker_id"], worker["queues"], worker["kind"]) == ("by-hand:1", ["w"], "TASK")
        assert worker["task_names"] == ["a", "b"]
        assert "by-hand:1" in dibs("workers").out
    finally:
        ended.set()
        reader.join()


def test_locks_are_held_by_one(dibs: Command) -> None:
    assert dibs("locks", "acquire", "door", "--owner", "me").out == "me\n"
    error = dibs("locks", "acquire", "door", "--owner", "you", "--json", code=Exit.NO).error
    assert error["reason"] == "LOCK_HELD"
    [held] = dibs.json("locks")["locks"]
    assert (held["name"], held["owner"]) == ("door", "me")
    assert "door" in dibs("locks").out
    assert dibs.json("locks", "refresh", "door", "--owner", "me", "--for", "2m")["lock"]["expire_time"]
    assert dibs("locks", "refresh", "door", "--owner", "you", "--json", code=Exit.NO).error["reason"] == "LOCK_LOST"
    dibs("locks", "release", "door", "--owner", "you", code=Exit.NO)
    assert dibs("locks", "release", "door", "--owner", "me").out == "door is free\n"
    assert dibs("locks").out == "no locks are held\n"


def test_top_once_shows_what_a_look_at_it_would(dibs: Command) -> None:
    dibs.fill("topped", "t1")
    said = dibs("top", "--once", "--interval", "100ms")
    assert "topped" in said.out
    assert "latency" in said.out
    found = dibs.json("top", "--once", "--interval", "100ms")
    assert found["latency_seconds"] > 0
    assert found["broker"]["redis_ready"]
    assert "topped" in [queue["name"] for queue in found["queues"]]
    assert "needs a terminal" in dibs("top", code=Exit.USAGE).err


def test_doctor_finds_nothing_wrong_with_a_broker_that_serves(dibs: Command) -> None:
    found = dibs.json("doctor")
    assert found["ok"]
    subjects = {check["subject"] for check in found["checks"]}
    expected = {"connection", "version", "redis", "memory", "settings", "clock", "limits", "workers", "schedules"}
    assert subjects >= expected | {"queues", "dead letters"}
    dibs.fill("held-up", "h")
    dibs("pause", "held-up")
    checks = {check["subject"]: check for check in dibs.json("doctor")["checks"]}
    assert checks["queues"]["status"] == "warn"
    assert "held-up" in checks["queues"]["text"]
    dibs("clear", "held-up", "--delete")


def test_health_is_one_word(dibs: Command) -> None:
    assert dibs("health").out == "SERVING\n"
    dibs("health", "--service", "dibs.v1.Nonsense", code=Exit.NOT_FOUND)


def test_doctor_names_settings_in_which_brokers_differ(redis_programs: dict[int, str]) -> None:
    with fragile(redis_programs[max(redis_programs)]) as redis, ExitStack() as stack:
        options = ("--redis", redis.url)
        one = stack.enter_context(running_broker(*options))
        two = stack.enter_context(running_broker(*options, "--max-payload-bytes", "1KiB"))
        three = stack.enter_context(running_broker(*options))

        differing = Command(f"ipv4:{one.address},{two.address}")("doctor").out
        alike = Command(f"ipv4:{one.address},{three.address}")("doctor").out

    assert "max_payload_bytes is 256KiB at" in differing
    assert "1KiB at" in differing
    assert "2 were reached, and have the same settings" in alike
