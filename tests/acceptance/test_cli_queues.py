"""The operator's commands for queues and dead letters."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dibs.cli.exits import Exit

from ..support import operating
from ..support.operating import Command, Consumer
from ..support.processes import Broker


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


def test_queues_have_counts_rates_and_ages(dibs: Command, consumer: Consumer) -> None:
    dibs.fill("counts", "c1", "c2", "c3")
    dibs("enqueue", "t", "--queue", "counts", "--delay", "1h", "--id", "c4")
    dibs("enqueue", "counts", "--data", '{"any": "json"}')
    consumer.lease("counts", 1)
    found = dibs.json("queues", "counts", "--sample", "50ms")["queues"]
    task, data = found
    assert (task["kind"], data["kind"]) == ("TASK", "DATA")
    assert {name: task[name] for name in ("ready", "delayed", "leased", "dead", "seen", "paused", "priority")} == {
        "ready": 2,
        "delayed": 1,
        "leased": 1,
        "dead": 0,
        "seen": 4,
        "paused": False,
        "priority": None,
    }
    assert (task["in_per_second"], task["out_per_second"]) == (0.0, 0.0)
    assert task["oldest_ready_time"].endswith("Z")
    said = dibs("queues", "--kind", "data", "--sample", "0").out
    assert "counts" in said
    assert "task" not in said
    assert "in" not in said.splitlines()[1].split()


def test_rates_are_of_the_sample(dibs: Command) -> None:
    dibs.fill("rates", "r0")
    more = threading.Timer(0.1, lambda: dibs.fill("rates", "r1"))
    more.start()
    [found] = dibs.json("queues", "rates", "--sample", "1.5s")["queues"]
    more.join()
    assert 0 < found["in_per_second"] <= 1 / 1.5
    assert found["out_per_second"] == 0


def test_a_queue_that_is_not_known_has_its_exit_code(dibs: Command) -> None:
    for command in ("tasks", "pause", "resume", "priority", "clear"):
        said = dibs(command, "never-used", code=Exit.NOT_FOUND)
        assert (said.out, said.err) == ("", "dibs: queue 'never-used' is not known\n")
    assert dibs("queues", "never-used", "--json", code=Exit.NOT_FOUND).error["reason"] == "NOT_FOUND"


def test_names_that_cannot_be_are_wrong_use(dibs: Command) -> None:
    error = dibs("queues", "--namespace", "a:b", "--json", code=Exit.USAGE).error
    assert (error["code"], error["field"]) == ("INVALID_ARGUMENT", "namespace")
    assert "queue" in dibs("tasks", "a{b}", code=Exit.USAGE).err
    assert "page_token" in dibs("tasks", "counts", "--page-token", "made-up", code=Exit.USAGE).err


def test_a_paused_queue_delivers_nothing(dibs: Command, consumer: Consumer) -> None:
    dibs.fill("paused", "a")
    assert dibs("pause", "paused").out == "paused paused\n"
    assert dibs.json("pause", "paused") == {"queue": "paused", "changed": False}
    assert consumer.lease("paused") == []
    assert dibs.json("resume", "paused")["changed"]
    assert [delivery.id for delivery in consumer.lease("paused", wait_s=5)] == ["a"]


def test_priorities_are_set_shown_and_cleared(dibs: Command) -> None:
    assert dibs("priority", "first", "-2.5").out == "first has priority -2.5\n"
    assert dibs.json("priority", "first") == {"queue": "first", "priority": -2.5}
    assert dibs.json("queues", "--kind", "task", "--sample", "0")["queues"][0]["name"] == "first"
    assert dibs("priority", "first", "--none").out == "first has no priority\n"
    error = dibs("priority", "first", "1e300", "--json", code=Exit.USAGE).error
    assert error["field"] == "priority"


def test_clearing_reports_progress_and_leaves_what_is_leased(dibs: Command, consumer: Consumer) -> None:
    dibs.fill("cleared", "x1", "x2", "x3")
    [leased] = consumer.lease("cleared", 1)
    last = dibs("clear", "cleared", "--json").lines[-1]
    assert (last["removed"], last["left"], last["deleted"]) == (2, 0, False)
    error = dibs("clear", "cleared", "--delete", "--json", code=Exit.NO).error
    assert error["reason"] == "QUEUE_IN_USE"
    assert dibs.json("show", "x1")["items"][0]["state"] == "STARTED"
    consumer.ack(leased, b"1")
    assert dibs("clear", "cleared", "--delete").out == "0 item(s) removed; the queue is deleted\n"
    dibs("queues", "cleared", code=Exit.NOT_FOUND)


def test_deleting_a_queue_that_is_worked_touches_nothing(dibs: Command, consumer: Consumer) -> None:
    dibs.fill("worked", "w1", "w2")
    consumer.lease("worked", 1)
    dibs("clear", "worked", "--delete", code=Exit.NO)
    assert dibs.ready("worked") == 1


def test_flush_tells_whether_all_have_started(dibs: Command, consumer: Consumer) -> None:
    dibs.fill("flushed", "f1")
    reports = dibs("flush", "flushed", "--wait", "200ms", "--every", "100ms", "--json", code=Exit.NO).lines
    assert reports[-1]["finished"]
    assert {one["id"]: one["state"] for report in reports for one in report["items"]} == {"f1": "WAITING"}
    consumer.lease("flushed")
    assert dibs("flush", "flushed", "--wait", "5s").out == "0 started\n"
    dibs("flush", "flushed", "--complete", "--wait-on-hidden", "--wait", "100ms", code=Exit.NO)


def die(dibs: Command, consumer: Consumer, queue: str, *ids: str) -> None:
    dibs("known", "register", "mortal", "--queue", queue, "--lease", "30s", "--dead")
    for id in ids:
        dibs("enqueue", "mortal", "--id", id, "--args", f'["{id}"]')
    for delivery in consumer.lease(queue):
        consumer.fail(delivery, f"Traceback\nValueError: {delivery.id}\x1b[2J")


def test_dead_letters_are_listed_and_sent_back(dibs: Command, consumer: Consumer) -> None:
    die(dibs, consumer, "mortals", "d1", "d2", "d3")
    [queue] = dibs.json("dead")["queues"]
    assert (queue["name"], queue["kind"], queue["size"]) == ("DEADLETTER_QUEUE", "TASK", 3)
    said = dibs("dead", "show", "--args").out
    assert "ValueError: d1\\x1b[2J" in said
    assert "\x1b" not in said
    items = dibs.json("dead", "show", "--limit", "2")
    assert [item["id"] for item in items["items"]] == ["d1", "d2"]
    assert items["next_page_token"]

    error = dibs("dead", "redrive", "d1", "lost", "--json", code=Exit.NOT_FOUND).error
    assert error["reason"] == "NOT_FOUND"
    assert dibs.ready("mortals") == 0, "nothing is done when one of them is not there"

    assert dibs("dead", "redrive", "d1").out == "1 item(s) sent back\n"
    assert dibs("dead", "redrive", "--all", "--json").lines[-1]["redriven"] == 2
    assert dibs.ready("mortals") == 3
    dibs("clear", "mortals")


def test_dead_letters_are_purged_and_taken(dibs: Command, consumer: Consumer) -> None:
    die(dibs, consumer, "goners", "g1", "g2", "g3", "g4")
    assert dibs("dead", "purge", "g1").out == "1 item(s) removed\n"
    assert [item["id"] for item in dibs.json("dead", "take")["items"]] == ["g2"]
    assert "g3" in dibs("dead", "take").out
    assert dibs("dead", "purge", "--all", "--json").lines[-1]["purged"] == 1
    assert dibs("dead", "take", code=Exit.NO).out == "nothing there\n"
    assert dibs("dead").out == "no dead letters\n"
