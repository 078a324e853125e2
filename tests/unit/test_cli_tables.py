"""What the operator's commands show to people, from replies that are made here."""

from __future__ import annotations

import io
import itertools
import json
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType

from dibs.cli.dead import dead_table
from dibs.cli.items import Section, items_table
from dibs.cli.known import known_table
from dibs.cli.queues import Rates, queues_table, rates
from dibs.cli.schedules import schedules_table
from dibs.cli.show import item_fields
from dibs.cli.tables import print_whole
from dibs.cli.top import facts
from dibs.cli.top_history import History, Look
from dibs.cli.top_view import screen
from dibs.cli.waiting_tasks import unknown_tasks
from dibs.cli.workers import workers_table
from dibs.v1 import admin_pb2 as admin
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(NOW - timedelta(seconds=seconds))
    return time


def text(what: RenderableType, width: int = 160) -> str:
    """As it looks on a terminal that knows no colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(what)
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def row(what: RenderableType, name: str) -> list[str]:
    """The cells of the line that begins with a name."""
    [line] = [line for line in text(what).splitlines() if line.strip().startswith(name)]
    return line.split()


def queue(name: str = "q", **fields: Any) -> admin.QueueInfo:
    return admin.QueueInfo(name=name, kind=tpb.QUEUE_KIND_TASK, **fields)


def test_queues() -> None:
    busy = queue("busy", ready=12_345, leased=2, dead=1, seen=99_999, priority=-1.5, oldest_ready_time=ago(61))
    still = queue("still", paused=True)
    shown = queues_table([busy, still], {(tpb.QUEUE_KIND_TASK, "busy"): Rates(150, 2.5)}, NOW)
    cells = ["busy", "task", "12,345", "·", "2", "1", "99,999", "150/s", "2.5/s", "1", "m", "1", "s", "-1.5"]
    assert row(shown, "busy") == cells
    assert row(shown, "still") == ["still", "task", *"·····", "–", "–", "–", "–", "paused"]
    assert "in" not in row(queues_table([busy], None, NOW), "queue")


def test_what_is_set_aside_has_a_column_when_there_is_some() -> None:
    assert "set aside" not in text(queues_table([queue("q")], None, NOW))
    shown = queues_table([queue("well"), queue("held", dead=1, set_aside=7)], None, NOW)
    assert row(shown, "held") == ["held", "task", *"···", "1", "7", "·", "–", "–"]
    assert row(shown, "well")[:7] == ["well", "task", *"·····"]


def test_rates_are_differences_over_time() -> None:
    before = [queue("a", seen=10, done=5), queue("reborn", seen=100, done=100)]
    after = [queue("a", seen=30, done=6), queue("reborn", seen=4, done=2), queue("new", seen=2)]
    found = {name: at for (_, name), at in rates(before, after, 2.0).items()}
    assert found == {"a": Rates(10.0, 0.5), "reborn": Rates(2.0, 1.0), "new": Rates(1.0, 0.0)}


def item(**fields: Any) -> admin.ItemInfo:
    content = tpb.Content(task_name="pack.task", payload=b'{"args":[1],"kwargs":{"b":"\\u001b[2J"}}')
    policy = tpb.DeliveryPolicy(attempts=3)
    return admin.ItemInfo(id="id-1", content=content, policy=policy, enqueue_time=ago(5), **fields)


def test_items() -> None:
    leased = item(state=tpb.ITEM_STATE_STARTED, attempt=2, next_time=ago(-30), cancel_requested=True)
    shown = items_table([leased], Section.LEASED, NOW, args=True)
    cells = ["id-1", "pack.task", "started", "2/3", "5.0", "s", "30", "s", "1,", 'b="\\u001b[2J"', "cancelled"]
    assert row(shown, "id-1") == cells
    assert "due in" in text(items_table([leased], Section.DELAYED, NOW, args=False))
    assert "pack.task" not in text(items_table([admin.ItemInfo(id="d")], Section.READY, NOW, args=False))


def test_of_an_item_that_cannot_be_read_the_reason_is_shown() -> None:
    unreadable = admin.ItemInfo(id="u", state=tpb.ITEM_STATE_DEAD, last_error="its record cannot be read")
    shown = items_table([unreadable], Section.SET_ASIDE, NOW, args=True)
    assert row(shown, "u") == ["u", "–", "dead", "0/1", "–", *["its", "record", "cannot", "be", "read"]]


def test_dead_letters_show_the_last_line_of_what_they_died_of() -> None:
    dead = item(queue="origin", attempt=3, death_time=ago(7200), last_error="Traceback\n  File\nValueError: \x1b]0;x\n")
    shown = text(dead_table([dead], NOW, args=False))
    assert "2 h 0 m ago" in shown
    assert "ValueError: \\x1b]0;x" in shown
    assert "Traceback" not in shown
    assert "\x1b" not in shown


def test_a_state_that_only_a_newer_broker_knows_stops_no_table() -> None:
    newer: Any = 10_000
    assert "unknown" in row(items_table([item(state=newer)], Section.READY, NOW, args=False), "id-1")
    assert "unknown" in text(item_fields(pb.ItemResult(id="i", state=newer)))


def test_one_item_has_what_is_known_of_it_and_nothing_else() -> None:
    done = pb.ItemResult(id="i", state=tpb.ITEM_STATE_SUCCEEDED, result=b'{"a":1}', queue="q", kind=tpb.QUEUE_KIND_TASK)
    assert '{"a": 1}' in text(item_fields(done))
    unknown = text(item_fields(pb.ItemResult(id="i", state=tpb.ITEM_STATE_UNKNOWN)))
    assert unknown.split() == ["id", "i", "state", "unknown"]
    failed = pb.ItemResult(
        id="i",
        state=tpb.ITEM_STATE_FAILED,
        error="Traceback:\n  boom\x1b[0m\n",
        attempt=2,
        cancel_requested=True,
        truncated=True,
        content=tpb.Content(task_name="t", payload=b"{}", headers={"traceparent": "00-1"}),
        enqueue_time=ago(2),
        schedule_time=ago(1),
    )
    shown = text(item_fields(failed))
    for part in ("boom\\x1b[0m", "its worker is told", "header traceparent", "due", "ask for it alone"):
        assert part in shown
    assert "none kept" in text(item_fields(pb.ItemResult(id="i", state=tpb.ITEM_STATE_SUCCEEDED)))


def test_schedules() -> None:
    hourly = admin.ScheduleInfo(
        schedule=admin.Schedule(name="hourly", queue="q", cron="0 * * * *", time_zone="Europe/Vienna"),
        state=admin.SCHEDULE_STATE_NO_WORKER,
        due_time=ago(3),
        runs=7,
        group="jobs",
    )
    often = admin.ScheduleInfo(
        schedule=admin.Schedule(name="often", queue="q", interval=Duration(seconds=90)),
        state=admin.SCHEDULE_STATE_PLANNED,
        due_time=ago(-60),
        last_start_time=ago(30),
    )
    shown = schedules_table([hourly, often], NOW)
    cells = ["hourly", "0", "*", "*", "*", "*", "Europe/Vienna", "q", "no", "worker", "now", "–", "7", "jobs"]
    assert row(shown, "hourly") == cells
    cells = ["often", "every", "1", "m", "30", "s", "q", "planned", "1", "m", "0", "s", "30", "s", "ago", "·"]
    assert row(shown, "often") == cells


def test_workers_and_registered_tasks() -> None:
    worker = admin.WorkerInfo(
        worker_id="h:1", kind=tpb.QUEUE_KIND_TASK, connect_time=ago(60), seen_time=ago(2), acked=5
    )
    cells = ["h:1", "task", "all", "any", "·", "·", "5", "·", "1", "m", "0", "s", "2.0", "s", "ago"]
    assert row(workers_table([worker], NOW), "h:1") == cells
    policy = tpb.DeliveryPolicy(attempts=3, lease_timeout=Duration(seconds=30), use_dead_letter=True)
    known = admin.TaskInfo(
        definition=admin.TaskDefinition(name="t", queue="q", policy=policy, description="First.\nSecond."),
        register_time=ago(1),
    )
    shown = text(known_table([known], NOW))
    assert "3 × 30 s, then dead letter" in shown
    assert "First." in shown
    assert "Second." not in shown
    assert "at most once" in text(known_table([admin.TaskInfo(definition=admin.TaskDefinition(name="t"))], NOW))


def seen(at: float, *queues: admin.QueueInfo, ready: bool = True) -> Look:
    info = admin.GetServerInfoResponse(
        version="1.2.3",
        broker_id="host:1:2",
        start_time=ago(3600),
        redis_version="redis 7.2.5",
        redis_ready=ready,
        redis_time=ago(0),
        redis_memory_bytes=2**20,
        redis_max_memory_bytes=2**30,
    )
    return Look(at, info, 0.002, queues, [])


def test_top_shows_rates_and_curves() -> None:
    history = History(1.0)
    for second in range(5):
        queues = (queue("busy", seen=100 * second**2, done=10 * second, ready=3), queue("still", paused=True))
        history.add(seen(float(second), *queues))
    shown = text(screen(history, "host:7411", "prod", width=130, height=40), 130)
    for part in ("host:7411", "prod", "up 1 h 0 m", "1 MiB of 1 GiB", "700/s", "10/s", "2.0 ms", "‖ paused still"):
        assert part in shown
    assert list(history.put) == [100.0, 300.0, 500.0, 700.0]
    assert "▂▄▆█" in shown
    assert facts(history)["in_per_second"] == 700.0


@pytest.mark.parametrize(("width", "height"), list(itertools.product((40, 80, 200), (10, 24, 60))))
def test_top_fits_its_terminal(width: int, height: int) -> None:
    history = History(1.0)
    queues = [queue(f"a-queue-with-a-long-name-{number}", ready=number, seen=number) for number in range(100)]
    for second in range(3):
        history.add(seen(float(second), *queues))
    shown = text(screen(history, "host:7411", "default", width=width, height=height), width).splitlines()
    assert max(len(line) for line in shown) <= width
    assert len(shown) <= max(height, 17) if width >= 80 else True
    assert "quieter queues are not shown" in "\n".join(shown)


def test_top_prefers_the_queues_where_something_happens() -> None:
    history = History(1.0)
    for second in range(3):
        queues = [queue(f"q{number}", done=second * (number % 10 == 0), seen=1) for number in range(30)]
        history.add(seen(float(second), *queues))
    assert [one.name for one in history.busiest(3)] == ["q0", "q10", "q20"]
    assert len(history.busiest(100)) == 30


def test_top_goes_on_when_the_broker_is_away() -> None:
    history = History(1.0)
    history.fail("no broker answers at host:7411")
    assert "no broker answers" in text(screen(history, "host:7411", "default", width=80, height=24))
    history.add(seen(0.0, queue("q")))
    history.fail("no broker answers at host:7411")
    shown = text(screen(history, "host:7411", "default", width=80, height=24))
    assert "no broker answers" in shown
    assert "latency" in shown
    history.add(seen(1.0, queue("q"), ready=False))
    shown = text(screen(history, "host:7411", "default", width=80, height=24))
    assert "no broker answers" not in shown
    assert "a Redis that is away" in shown


def test_curves_forget_queues_that_are_gone() -> None:
    history = History(1.0)
    for second, names in enumerate((["a", "b"], ["a", "b"], ["a"])):
        history.add(seen(float(second), *[queue(name) for name in names]))
    assert [name for _, name in history.done_of] == ["a"]
    assert History(0.1).length == 600
    assert History(3600.0).length == 2


def test_tasks_that_no_worker_knows_are_named() -> None:
    def parked(name: str, items: int, workers: int = 0) -> admin.ParkedTask:
        return admin.ParkedTask(task_name=name, items=items, workers=workers)

    queues = [
        queue("a", parked_tasks=[parked("shop.send", 1200), parked("known", 7, workers=1)]),
        queue("b", parked_tasks=[parked("shop.send", 4), parked("one\x1b[31m", 1)]),
    ]
    assert unknown_tasks(queues) == [
        "1,204 calls of shop.send wait, no worker knows it",
        "1 call of one\\x1b[31m waits, no worker knows it",
    ]
    many = [queue(parked_tasks=[parked(f"t{n}", 10 - n) for n in range(8)])]
    assert unknown_tasks(many)[5:] == ["so do calls of 3 other tasks"]


@pytest.mark.parametrize("evil", ["\x1b]0;x\x07", "\x9b2J", "\x00", "\u202e", "\u200f", "\u2028", "\ud800", "a\nid"])
def test_of_an_item_nothing_reaches_the_terminal_as_it_is(evil: str) -> None:
    payload = json.dumps({"args": [evil], "kwargs": {evil: evil}}).encode()
    # The contract's strings are UTF-8: lone surrogates come in payloads and results alone.
    there = evil.encode("utf-8", "ignore").decode()
    content = tpb.Content(task_name=f"t{there}", payload=payload, headers={f"name{there}": there})
    shown = text(item_fields(pb.ItemResult(id="i", content=content, error=there, result=json.dumps(evil).encode())))
    shown.encode()
    assert "header name" in shown
    assert evil not in shown
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf") and char != "\n"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
@pytest.mark.parametrize("id", ["bae93f69666afc508163fc011fdc20af", "order-" + "0123456789" * 12])
@pytest.mark.parametrize("args", [True, False])
def test_an_id_is_never_folded_or_cut_off_however_narrow_the_terminal(width: int, id: str, args: bool) -> None:
    item = admin.ItemInfo(
        id=id, queue="a-queue-of-some-length", attempt=3, death_time=ago(5), state=tpb.ITEM_STATE_DEAD
    )
    item.content.task_name = "a.module.with.a.long.name.and.a.function"
    item.content.payload = b'{"args":["an argument that is rather long, as they are"]}'
    item.last_error = "Traceback (most recent call last):\nFileNotFoundError: [Errno 2] No such file: '/nowhere'"
    console = Console(file=io.StringIO(), width=width, color_system=None)

    for table in (dead_table([item, item], NOW, args=args), items_table([item, item], Section.READY, NOW, args=args)):
        print_whole(console, table)

    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert sum(line.startswith(id) for line in lines) == 4
    assert sum("FileNotFound" in line for line in lines) >= 2
