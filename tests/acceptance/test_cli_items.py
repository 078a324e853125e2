"""The operator's commands for items: put in, listed, shown, cancelled, deleted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from dibs.cli.exits import Exit
from dibs.v1 import admin_pb2 as apb
from dibs.v1.admin_pb2_grpc import AdminServiceStub

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


def test_items_come_in_pages_without_being_leased(dibs: Command) -> None:
    dibs.fill("pages", *[f"p{number}" for number in range(5)])
    first = dibs.json("tasks", "pages", "--limit", "2", "--args")
    assert [item["id"] for item in first["items"]] == ["p0", "p1"]
    assert first["items"][0]["content"]["payload"] == {"args": ["p0"], "kwargs": {}}
    rest = dibs.json("tasks", "pages", "--args", "--page-token", first["next_page_token"])
    assert [item["id"] for item in rest["items"]] == ["p2", "p3", "p4"]
    assert rest["next_page_token"] == ""
    said = dibs("tasks", "pages", "--args", "--limit", "1")
    assert "p0" in said.out
    assert '"p0"' in said.out
    assert "there are more" in said.err
    assert dibs.ready("pages") == 5


def test_sections_of_a_queue(dibs: Command, consumer: Consumer) -> None:
    dibs.fill("sections", "s1", "s2")
    dibs("enqueue", "t", "--queue", "sections", "--delay", "1h", "--id", "s3")
    consumer.lease("sections", 1)
    for section, id in (("ready", "s2"), ("delayed", "s3"), ("leased", "s1")):
        assert [item["id"] for item in dibs.json("tasks", "sections", "--section", section)["items"]] == [id]
    assert "due in" in dibs("tasks", "sections", "-s", "delayed").out
    assert "lease ends in" in dibs("tasks", "sections", "-s", "leased").out


def test_one_item_is_shown_cancelled_and_deleted(dibs: Command) -> None:
    dibs.fill("ones", "o1", "o2")
    [item] = dibs.json("show", "o1")["items"]
    assert (item["state"], item["content"]["payload"]["args"]) == ("WAITING", ["o1"])
    said = dibs("show", "o1").out
    assert "waiting" in said
    assert '"o1"' in said
    assert dibs("cancel", "o1").out == "o1: removed; it had not started\n"
    found = dibs.json("cancel", "o1", "o2", code=Exit.NOT_FOUND)["items"]
    assert [one["outcome"] for one in found] == ["NOT_FOUND", "REMOVED"]
    dibs.fill("ones", "o3")
    assert dibs.json("delete", "o3", "o4", code=Exit.NOT_FOUND) == {"deleted_ids": ["o3"], "unknown_ids": ["o4"]}
    dibs("show", "o3", code=Exit.NOT_FOUND)
    assert dibs.ready("ones") == 0


def test_a_registered_task_is_enqueued_as_its_code_says(dibs: Command, consumer: Consumer) -> None:
    options = ("--queue", "asked", "--attempts", "3", "--lease", "30s", "--keep", "1m", "--description", "Asks.")
    dibs("known", "register", "ask", *options)
    dibs("enqueue", "ask", "--args", "[1]", "--kwargs", '{"b": "é"}', "--id", "asked-1")
    [delivery] = consumer.lease("asked")
    assert json.loads(delivery.content.payload) == {"args": [1], "kwargs": {"b": "é"}}
    assert (delivery.attempts, delivery.keep_result) == (3, True)
    [known] = dibs.json("known", "ask")["tasks"]
    assert known["definition"]["policy"]["lease_timeout_seconds"] == 30
    assert "Asks." in dibs("known").out
    dibs("known", "never-registered", code=Exit.NOT_FOUND)


def test_an_id_that_is_taken_is_said(dibs: Command, consumer: Consumer) -> None:
    dibs.fill("taken", "same")
    again = ("enqueue", "t", "--queue", "taken", "--id", "same")
    for choice in ("keep", "fail"):
        assert "known already; nothing changed" in dibs(*again, "--on-conflict", choice, code=Exit.NO).err
    assert "took its place" in dibs(*again).err
    assert dibs.ready("taken") == 1
    assert [delivery.id for delivery in consumer.lease("taken")] == ["same"]
    assert "is running" in dibs(*again, code=Exit.NO).err
    assert "took its place" in dibs(*again, "--on-conflict", "replace").err


@pytest.mark.parametrize("succeeds", [True, False])
def test_enqueue_waits_for_the_end(dibs: Command, consumer: Consumer, succeeds: bool) -> None:
    def work() -> None:
        [delivery] = consumer.lease("awaited", wait_s=15)
        if succeeds:
            consumer.ack(delivery, b'{"answer": 42}')
        else:
            consumer.fail(delivery, "no")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        code = Exit.OK if succeeds else Exit.NO
        item = dibs.json("enqueue", "t", "--queue", "awaited", "--lease", "9s", "--wait", "15s", code=code)["item"]
    finally:
        worker.join()
    assert item["state"] == ("SUCCEEDED" if succeeds else "FAILED")
    assert item["result"] == ({"answer": 42} if succeeds else None)
    assert item["error"] == ("" if succeeds else "no")


def test_what_is_not_done_in_time_is_no_success(dibs: Command) -> None:
    said = dibs("enqueue", "t", "--queue", "unworked", "--wait", "50ms", code=Exit.NO)
    assert "waiting" in said.out


def test_enqueue_waits_for_longer_than_one_request_may(redis_programs: dict[int, str]) -> None:
    with operating.newest_broker(redis_programs, "--max-wait", "1s") as broker:
        began = time.monotonic()
        said = Command(broker.address)("enqueue", "t", "--queue", "unworked", "--wait", "2500ms", code=Exit.NO)
        assert time.monotonic() - began >= 2.5
        assert "waiting" in said.out


def test_a_lone_surrogate_ends_no_command(dibs: Command) -> None:
    dibs("enqueue", "t", "--queue", "odd", "--id", "odd-1", "--args", '["\\ud800", "\u202e"]')
    assert "\\ud800" in dibs("tasks", "odd", "--args").out
    said = dibs("show", "odd-1").out
    assert "\\ud800" in said
    assert "\\u202e" in said
    written = dibs("show", "odd-1", "--json").out
    assert "\u202e" not in written
    assert json.loads(written)["items"][0]["content"]["payload"]["args"] == ["\ud800", "\u202e"]
    dibs("clear", "odd")


def test_a_task_that_nobody_knows_is_enqueued_with_a_warning(dibs: Command) -> None:
    dibs("known", "register", "mail.send", "--queue", "mail")

    said = dibs("enqueue", "mail.snd", "--queue", "unknown-tasks", "--id", "unknown-1")

    assert said.out == "unknown-1\n"
    assert "no worker has registered a task mail.snd" in said.err
    assert "did you mean mail.send?" in said.err
    assert "no worker" not in dibs("enqueue", "mail.send").err


def test_a_call_is_checked_by_what_the_worker_of_its_task_has_said(dibs: Command, consumer: Consumer) -> None:
    schema = {"properties": {"address": {"type": "string"}}, "required": ["address"], "additionalProperties": False}
    definition = apb.TaskDefinition(name="checked.send", queue="checked", schema=json.dumps(schema))
    with grpc.insecure_channel(dibs.target) as channel:
        AdminServiceStub(channel).RegisterTasks(apb.RegisterTasksRequest(tasks=[definition]))

    for words, told in (
        ((), "checked.send() is missing the argument 'address'"),
        (("--args", "[5]"), "argument 'address' of checked.send must be a string, not 5"),
        (("--kwargs", '{"adress": "a"}'), "did you mean address?"),
    ):
        said = dibs("enqueue", "checked.send", *words, code=Exit.USAGE)
        assert told in said.err.replace("\n", " ")
    dibs("enqueue", "checked.send", "--args", '["a"]')

    [delivery] = consumer.lease("checked")
    assert json.loads(delivery.content.payload) == {"args": ["a"], "kwargs": {}}
