"""The operator's commands on a broker that is a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dibs.cli.completion import queue_names
from dibs.cli.exits import Exit
from dibs.cli.table import TABLE
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support import operating
from ..support.operating import Consumer, Said
from ..support.outages import fragile
from ..support.ports import free_port
from ..support.processes import Broker, environment, run_dibs, running_broker, running_dibs


@pytest.fixture(scope="module")
def broker(redis_programs: dict[int, str]) -> Iterator[Broker]:
    with operating.newest_broker(redis_programs) as started:
        yield started


@pytest.fixture
def consumer(broker: Broker) -> Iterator[Consumer]:
    with Consumer(broker.address) as made:
        yield made


class Dibs:
    """The command, on the broker, in a namespace of the test's own."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __call__(self, *args: str, code: int = 0) -> Said:
        said = operating.dibs(self.target, *args)
        assert said.code == code, (args, said)
        return said

    def json(self, *args: str, code: int = 0) -> Any:
        return self(*args, "--json", code=code).json

    def fill(self, queue: str, *ids: str, lease: str = "30s", more: tuple[str, ...] = ()) -> None:
        for id in ids:
            self("enqueue", "t", "--queue", queue, "--id", id, "--args", f'["{id}"]', "--lease", lease, *more)

    def ready(self, queue: str) -> int:
        [found] = self.json("queues", queue, "--sample", "0")["queues"]
        number: int = found["ready"]
        return number


@pytest.fixture
def dibs(broker: Broker) -> Dibs:
    return Dibs(broker.address)


def test_queues_have_counts_rates_and_ages(dibs: Dibs, consumer: Consumer) -> None:
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


def test_rates_are_of_the_sample(dibs: Dibs) -> None:
    dibs.fill("rates", "r0")
    more = threading.Timer(0.1, lambda: dibs.fill("rates", "r1"))
    more.start()
    [found] = dibs.json("queues", "rates", "--sample", "1.5s")["queues"]
    more.join()
    assert 0 < found["in_per_second"] <= 1 / 1.5
    assert found["out_per_second"] == 0


def test_a_queue_that_is_not_known_has_its_exit_code(dibs: Dibs) -> None:
    for command in ("tasks", "pause", "resume", "priority", "clear"):
        said = dibs(command, "never-used", code=Exit.NOT_FOUND)
        assert (said.out, said.err) == ("", "dibs: queue 'never-used' is not known\n")
    assert dibs("queues", "never-used", "--json", code=Exit.NOT_FOUND).error["reason"] == "NOT_FOUND"


def test_names_that_cannot_be_are_wrong_use(dibs: Dibs) -> None:
    error = dibs("queues", "--namespace", "a:b", "--json", code=Exit.USAGE).error
    assert (error["code"], error["field"]) == ("INVALID_ARGUMENT", "namespace")
    assert "queue" in dibs("tasks", "a{b}", code=Exit.USAGE).err
    assert "page_token" in dibs("tasks", "counts", "--page-token", "made-up", code=Exit.USAGE).err


def test_items_come_in_pages_without_being_leased(dibs: Dibs) -> None:
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


def test_sections_of_a_queue(dibs: Dibs, consumer: Consumer) -> None:
    dibs.fill("sections", "s1", "s2")
    dibs("enqueue", "t", "--queue", "sections", "--delay", "1h", "--id", "s3")
    consumer.lease("sections", 1)
    for section, id in (("ready", "s2"), ("delayed", "s3"), ("leased", "s1")):
        assert [item["id"] for item in dibs.json("tasks", "sections", "--section", section)["items"]] == [id]
    assert "due in" in dibs("tasks", "sections", "-s", "delayed").out
    assert "lease ends in" in dibs("tasks", "sections", "-s", "leased").out


def test_a_paused_queue_delivers_nothing(dibs: Dibs, consumer: Consumer) -> None:
    dibs.fill("paused", "a")
    assert dibs("pause", "paused").out == "paused paused\n"
    assert dibs.json("pause", "paused") == {"queue": "paused", "changed": False}
    assert consumer.lease("paused") == []
    assert dibs.json("resume", "paused")["changed"]
    assert [delivery.id for delivery in consumer.lease("paused", wait_s=5)] == ["a"]


def test_priorities_are_set_shown_and_cleared(dibs: Dibs) -> None:
    assert dibs("priority", "first", "-2.5").out == "first has priority -2.5\n"
    assert dibs.json("priority", "first") == {"queue": "first", "priority": -2.5}
    assert dibs.json("queues", "--kind", "task", "--sample", "0")["queues"][0]["name"] == "first"
    assert dibs("priority", "first", "--none").out == "first has no priority\n"
    error = dibs("priority", "first", "1e300", "--json", code=Exit.USAGE).error
    assert error["field"] == "priority"


def test_clearing_reports_progress_and_leaves_what_is_leased(dibs: Dibs, consumer: Consumer) -> None:
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


def test_deleting_a_queue_that_is_worked_touches_nothing(dibs: Dibs, consumer: Consumer) -> None:
    dibs.fill("worked", "w1", "w2")
    consumer.lease("worked", 1)
    dibs("clear", "worked", "--delete", code=Exit.NO)
    assert dibs.ready("worked") == 1


def test_one_item_is_shown_cancelled_and_deleted(dibs: Dibs) -> None:
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


def die(dibs: Dibs, consumer: Consumer, queue: str, *ids: str) -> None:
    dibs("known", "register", "mortal", "--queue", queue, "--lease", "30s", "--dead")
    for id in ids:
        dibs("enqueue", "mortal", "--id", id, "--args", f'["{id}"]')
    for delivery in consumer.lease(queue):
        consumer.fail(delivery, f"Traceback\nValueError: {delivery.id}\x1b[2J")


def test_dead_letters_are_listed_and_sent_back(dibs: Dibs, consumer: Consumer) -> None:
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


def test_dead_letters_are_purged_and_taken(dibs: Dibs, consumer: Consumer) -> None:
    die(dibs, consumer, "goners", "g1", "g2", "g3", "g4")
    assert dibs("dead", "purge", "g1").out == "1 item(s) removed\n"
    assert [item["id"] for item in dibs.json("dead", "take")["items"]] == ["g2"]
    assert "g3" in dibs("dead", "take").out
    assert dibs("dead", "purge", "--all", "--json").lines[-1]["purged"] == 1
    assert dibs("dead", "take", code=Exit.NO).out == "nothing there\n"
    assert dibs("dead").out == "no dead letters\n"


def test_a_registered_task_is_enqueued_as_its_code_says(dibs: Dibs, consumer: Consumer) -> None:
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


def test_an_id_that_is_taken_is_said(dibs: Dibs, consumer: Consumer) -> None:
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
def test_enqueue_waits_for_the_end(dibs: Dibs, consumer: Consumer, succeeds: bool) -> None:
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


def test_what_is_not_done_in_time_is_no_success(dibs: Dibs) -> None:
    said = dibs("enqueue", "t", "--queue", "unworked", "--wait", "50ms", code=Exit.NO)
    assert "waiting" in said.out


def test_flush_tells_whether_all_have_started(dibs: Dibs, consumer: Consumer) -> None:
    dibs.fill("flushed", "f1")
    reports = dibs("flush", "flushed", "--wait", "200ms", "--every", "100ms", "--json", code=Exit.NO).lines
    assert reports[-1]["finished"]
    assert {one["id"]: one["state"] for report in reports for one in report["items"]} == {"f1": "WAITING"}
    consumer.lease("flushed")
    assert dibs("flush", "flushed", "--wait", "5s").out == "0 started\n"
    dibs("flush", "flushed", "--complete", "--wait-on-hidden", "--wait", "100ms", code=Exit.NO)


def test_schedules_are_made_listed_and_removed(dibs: Dibs) -> None:
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


def test_workers_are_listed_while_they_are_connected(dibs: Dibs, consumer: Consumer) -> None:
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


def test_locks_are_held_by_one(dibs: Dibs) -> None:
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


def test_top_once_shows_what_a_look_at_it_would(dibs: Dibs) -> None:
    dibs.fill("topped", "t1")
    said = dibs("top", "--once", "--interval", "100ms")
    assert "topped" in said.out
    assert "latency" in said.out
    found = dibs.json("top", "--once", "--interval", "100ms")
    assert found["latency_seconds"] > 0
    assert found["broker"]["redis_ready"]
    assert "topped" in [queue["name"] for queue in found["queues"]]
    assert "needs a terminal" in dibs("top", code=Exit.USAGE).err


def test_doctor_finds_nothing_wrong_with_a_broker_that_serves(dibs: Dibs) -> None:
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


def test_health_is_one_word(dibs: Dibs) -> None:
    assert dibs("health").out == "SERVING\n"
    dibs("health", "--service", "dibs.v1.Nonsense", code=Exit.NOT_FOUND)


def test_completion_offers_names_of_queues_and_is_silent_without_a_broker(dibs: Dibs, broker: Broker) -> None:
    dibs.fill("completed", "c")

    class Context:
        params: dict[str, str] = {"target": broker.address}  # noqa: RUF012 - as the shell's context has it

    assert queue_names(Context(), "compl") == ["completed"]
    Context.params = {"target": f"127.0.0.1:{free_port()}"}
    assert queue_names(Context(), "") == []
    Context.params = {"namespace": "not:a name", "target": broker.address}
    assert queue_names(Context(), "") == []


#: Arguments that each command needs.
ARGUMENTS = {
    "queues": [],
    "tasks": ["q"],
    "pause": ["q"],
    "resume": ["q"],
    "priority": ["q", "1"],
    "clear": ["q"],
    "flush": [],
    "dead": [],
    "redrive": ["q", "i"],
    "enqueue": ["t"],
    "show": ["i"],
    "cancel": ["i"],
    "delete": ["i"],
    "top": ["--once"],
    "workers": [],
    "known": [],
    "schedules": [],
    "locks": [],
    "health": [],
    "namespaces": [],
    "delete-namespace": ["n"],
}


def test_the_list_of_commands_is_complete() -> None:
    assert {*ARGUMENTS, "doctor"} == {name for name, row in TABLE.items() if row.panel != "Run"}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_a_broker_that_is_away_has_its_exit_code(command: str) -> None:
    target = f"127.0.0.1:{free_port()}"
    said = operating.dibs(target, command, *ARGUMENTS[command], "--timeout", "100ms")
    assert (said.code, said.out) == (Exit.UNAVAILABLE, "")
    # A busy machine may not even be refused a connection in that time. Old releases of gRPC tell the number, too.
    assert said.err.replace(" (111)", "") in (
        f"dibs: no broker answers at {target} (Connection refused)\n",
        f"dibs: no answer from {target} in time\n",
    )


def test_doctor_says_in_words_that_the_broker_is_away() -> None:
    said = operating.dibs(f"127.0.0.1:{free_port()}", "doctor", "--timeout", "2s")
    assert said.code == Exit.NO
    assert "no broker answers" in said.out
    assert "is a broker running there" in said.out


def test_a_broker_whose_redis_is_away_says_so(redis_programs: dict[int, str]) -> None:
    with fragile(redis_programs[max(redis_programs)]) as redis, running_broker("--redis", redis.url) as broker:
        dibs = Dibs(broker.address)
        dibs("enqueue", "t", "--queue", "kept")
        redis.kill()
        for command in ("dead", "workers", "schedules", "known", "locks"):
            dibs(command, "--timeout", "300ms", code=Exit.UNAVAILABLE)
        error = dibs("queues", "--timeout", "3s", "--json", code=Exit.UNAVAILABLE).error
        assert error["reason"] == "REDIS_UNAVAILABLE"
        said = dibs("doctor", code=Exit.NO)
        assert "Redis does not answer the broker" in said.out
        redis.start()
        assert dibs.json("queues", "--sample", "0", "--timeout", "20s")["queues"][0]["name"] == "kept"


def settings(broker: Broker, **more: str) -> dict[str, str]:
    return {"DIBS_TARGET": broker.address, **more}


def test_as_a_process(broker: Broker) -> None:
    done = run_dibs("queues", "--sample", "0", "--json", env=settings(broker))
    assert (done.returncode, done.stderr) == (0, "")
    assert "queues" in json.loads(done.stdout)
    done = run_dibs("tasks", "never", env=settings(broker))
    assert (done.returncode, done.stdout) == (Exit.NOT_FOUND, "")
    assert done.stderr == "dibs: queue 'never' is not known\n"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(dibs: Dibs, broker: Broker, form: list[str]) -> None:
    ids = [f"long{len(form)}-{number}" for number in range(3)]
    for id in ids:
        dibs.fill("long", id, more=("--kwargs", json.dumps({"text": "x" * 50_000})))
    command = [sys.executable, "-m", "dibs", "show", *ids, *form]
    with subprocess.Popen(
        command, env=environment(settings(broker)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == Exit.NO


def test_completion_in_a_shell(dibs: Dibs, broker: Broker) -> None:
    dibs.fill("shell-queue", "s")
    words = {"_DIBS_COMPLETE": "complete_bash", "COMP_WORDS": "dibs tasks shell-", "COMP_CWORD": "2"}
    # A busy machine may take longer than a person waits for a completion.
    said = (run_dibs(env=settings(broker, **words)).stdout.split() for _ in range(5))
    assert ["shell-queue"] in said


def test_top_reports_until_it_is_interrupted(broker: Broker) -> None:
    with running_dibs("top", "--json", "--interval", "100ms", env=settings(broker)) as top:
        top.until_printed('"in_per_second": 0')
        top.process.send_signal(signal.SIGINT)
        assert top.wait() == Exit.INTERRUPTED
        first, second = (json.loads(line) for line in top.output.splitlines()[:2])
    assert (first["in_per_second"], second["in_per_second"]) == (None, 0)


def test_a_lone_surrogate_ends_no_command(dibs: Dibs) -> None:
    dibs("enqueue", "t", "--queue", "odd", "--id", "odd-1", "--args", '["\\ud800", "\u202e"]')
    assert "\\ud800" in dibs("tasks", "odd", "--args").out
    said = dibs("show", "odd-1").out
    assert "\\ud800" in said
    assert "\\u202e" in said
    written = dibs("show", "odd-1", "--json").out
    assert "\u202e" not in written
    assert json.loads(written)["items"][0]["content"]["payload"]["args"] == ["\ud800", "\u202e"]
    dibs("clear", "odd")
