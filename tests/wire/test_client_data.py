"""Data queues against a real broker."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dibs import DEADLETTER_QUEUE, AsyncDibs, Data, Dibs, InvalidArgument, NotFound, PayloadError
from dibs.broker.border.errors import InvalidField
from dibs.broker.config.limits import Limits
from dibs.broker.messages import lease, work
from dibs.rpc import operations
from dibs.rpc.operations import MAX_BATCH
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.broker_thread import BrokerThread

#: A lease that is waited for, in seconds. Long enough for the receipt: one that comes later uses no attempt.
SHORT = 1.0


def until_dead(queue: Data, count: int, *, dead: str = DEADLETTER_QUEUE) -> dict[str, Any]:
    """The dead letters, as soon as there are so many; they are left where they are."""
    letters = Data(dead, is_dead=True, dibs=queue._dibs)
    deadline = time.monotonic() + 30
    while len(found := letters.get_data(1000, vis_timeout=-1)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_items_are_put_received_once_and_done(app: Dibs) -> None:
    queue = app.Data("q", attempts=3, vis_timeout=30)
    put = queue.put_data(["a", {"b": [1, 2]}, None])
    assert list(put.values()) == ["a", {"b": [1, 2]}, None]
    assert queue.currently_available() == (3, 0)

    first = queue.get_data(2)
    assert first == dict(list(put.items())[:2])
    assert queue.currently_available() == (1, 2)
    assert queue.get_data(10) == dict(list(put.items())[2:])
    assert queue.get_data(10) == {}

    assert queue.done_data(first) == 2
    assert queue.done_data(first) == 0
    assert queue.currently_available() == (0, 1)


@pytest.mark.parametrize(
    "make", [list, tuple, dict.keys, iter, "".join], ids=["list", "tuple", "view", "iterator", "text"]
)
def test_ids_come_in_any_iterable(app: Dibs, make: Any) -> None:
    queue = app.Data("q", vis_timeout=30)
    queue.put_data(1, is_one=True)
    assert queue.done_data(make(queue.get_data())) == 1


def test_what_counts_as_several_items(app: Dibs) -> None:
    queue = app.Data("q")
    assert list(queue.put_data([1, 2]).values()) == [1, 2]
    assert list(queue.put_data((1, 2)).values()) == [1, 2]
    assert list(queue.put_data(number for number in (1, 2)).values()) == [1, 2]
    assert list(queue.put_data([1, 2], is_one=True).values()) == [[1, 2]]
    assert list(queue.put_data({"a": 1}).values()) == [{"a": 1}]
    assert list(queue.put_data("text").values()) == ["text"]
    assert queue.put_data([]) == {}
    assert list(queue.get_data(100).values()) == [1, 2, 1, 2, 1, 2, [1, 2], {"a": 1}, "text"]


@pytest.mark.parametrize(
    "data",
    [{1: "a", 2: "b"}.keys(), {"a": 1, "b": 2}.values(), {1, 2}, frozenset((1, 2)), range(1, 3), deque((1, 2))],
    ids=lambda data: type(data).__name__,
)
def test_every_iterable_but_a_mapping_and_a_text_is_several_items(app: Dibs, data: Any) -> None:
    queue = app.Data("q")
    assert sorted(queue.put_data(data).values()) == [1, 2]
    with pytest.raises(PayloadError):
        queue.put_data(b"bytes")


def test_a_negative_wait_is_none(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=30)
    queue.put_data([1], delay=-5)
    assert list(queue.get_data(get_timeout=-1).values()) == [1]
    assert queue.get_data(get_timeout=-1) == {}
    assert not app.task(name="t")(lambda: None).execute().wait(-1)


def test_many_items_go_in_chunks(app: Dibs) -> None:
    queue = app.Data("q")
    for count, chunksize in ((30, 1), (1_100, 70), (1_100, 512), (1_100, 100_000)):
        put = queue.put_data(list(range(count)), chunksize=chunksize)
        assert list(put.values()) == list(range(count))
        assert queue.get_data(1_000) | queue.get_data(1_000) == put
    large = queue.put_data(["x" * 200_000] * 40)
    found: dict[str, Any] = {}
    while batch := queue.get_data(40):
        found |= batch
    assert found == large


def test_taken_items_are_gone(app: Dibs) -> None:
    queue = app.Data("q", attempts=5, vis_timeout=0.2, use_dead=True)
    queue.put_data([1, 2])
    taken = queue.get_data(vis_timeout=0)
    assert list(taken.values()) == [1]
    assert queue.done_data(taken) == 0
    assert queue.refresh_data(taken) == []
    time.sleep(0.3)
    assert list(queue.get_data(10).values()) == [2]


def test_a_look_takes_nothing(app: Dibs) -> None:
    queue = app.Data("q")
    put = queue.put_data([1, 2, 3])
    assert queue.get_data(2, vis_timeout=-1) == dict(list(put.items())[:2])
    assert queue.get_data(2, vis_timeout=-1) == dict(list(put.items())[:2])
    assert queue.currently_available() == (3, 0)


def test_the_wait_ends_with_the_first_item(app: Dibs) -> None:
    queue = app.Data("q")
    began = time.monotonic()
    assert queue.get_data(10, get_timeout=0.2) == {}
    assert time.monotonic() - began >= 0.2

    other = threading.Timer(0.1, queue.put_data, [["now"]])
    other.start()
    began = time.monotonic()
    assert list(queue.get_data(10, get_timeout=timedelta(seconds=20)).values()) == ["now"]
    assert time.monotonic() - began < 5
    other.join()


def test_an_item_comes_back_until_its_attempts_are_used_up(app: Dibs) -> None:
    queue = app.Data("q", attempts=2, vis_timeout=SHORT, use_dead=True)
    (id,) = queue.put_data(["poison"])
    for _ in range(2):
        assert queue.get_data(get_timeout=5) == {id: "poison"}
    (letter,) = until_dead(queue, 1).values()
    assert letter[:3] == [id, "", "poison"]
    assert letter[3]["attempts"] == 2
    assert letter[3]["queue"] == "q"
    assert abs(letter[4] - time.time()) < 60
    assert 0 <= letter[3]["time_of_death"] - letter[4] < 60
    assert len(letter) == 5
    assert queue.get_data(10) == {}


def test_attempts_are_given_at_the_put_and_at_the_get(app: Dibs) -> None:
    queue = app.Data("q", attempts=1, vis_timeout=SHORT)
    (more,) = queue.put_data(["more"], attempts=2)
    assert list(queue.get_data(get_timeout=5)) == [more]
    assert list(queue.get_data(get_timeout=5)) == [more]
    assert queue.get_data(get_timeout=SHORT + 0.8) == {}
    (again,) = queue.put_data(["again"])
    assert list(queue.get_data(get_timeout=5, attempts=2)) == [again]
    assert list(queue.get_data(get_timeout=5, attempts=2)) == [again]
    assert queue.get_data(get_timeout=SHORT + 0.8) == {}
    assert queue.currently_available() == (0, 0)


@pytest.fixture
def settled(app: Dibs, broker: BrokerThread) -> Dibs:
    """A client of a broker that has seen that none of an earlier version is there."""
    broker.until_settled()
    return app


def test_what_was_put_without_a_number_has_the_attempts_of_who_gets_it(settled: Dibs) -> None:
    (id,) = settled.Data("q").put_data(["poison"])
    reader = settled.Data("q", attempts=2, vis_timeout=SHORT, use_dead=True)
    for _ in range(2):
        assert reader.get_data(get_timeout=5) == {id: "poison"}
    assert until_dead(reader, 1)[id][3]["attempts"] == 2


async def test_an_asyncio_producer_leaves_open_what_it_does_not_name(settled: Dibs) -> None:
    async with AsyncDibs(of=settled) as adibs:
        (id,) = await adibs.Data("q").put_data(["poison"])
        reader = adibs.Data("q", attempts=2, vis_timeout=SHORT)
        for _ in range(2):
            assert await reader.get_data(get_timeout=5) == {id: "poison"}


def test_what_was_put_with_numbers_keeps_them(settled: Dibs) -> None:
    settled.Data("q", attempts=1, use_dead=False).put_data(["poison"])
    reader = settled.Data("q", attempts=5, vis_timeout=SHORT, use_dead=True)
    assert list(reader.get_data(get_timeout=5).values()) == ["poison"]
    assert reader.get_data(get_timeout=SHORT + 0.8) == {}
    assert settled.Data(DEADLETTER_QUEUE).get_data(vis_timeout=-1) == {}


def test_a_stream_names_attempts_as_well(settled: Dibs) -> None:
    settled.Data("q").put_data(["poison"])
    reader = settled.Data("q", attempts=2, vis_timeout=30, use_dead="graves")
    for batch in reader.stream(get_timeout=1):
        for id in batch:
            batch.fail(id, "why", delay=0)
    assert [letter[3]["attempts"] for letter in until_dead(reader, 1, dead="graves").values()] == [2]


def test_a_broker_of_the_version_before_delivers_items_as_they_were_put(
    app: Dibs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(found: pb.LeaseRequest | pb.WorkHello, path: str, limits: Limits) -> tuple[None, None]:
        if found.default_attempts or found.default_dead_letter_queue:
            raise InvalidField(path.rstrip("."), "carries fields that this broker does not know: number 10, 11")
        return None, None

    monkeypatch.setattr(lease, "read_defaults", unknown)
    monkeypatch.setattr(work, "read_defaults", unknown)
    app.Data("q").put_data(["a", "b"])
    reader = app.Data("q", attempts=5, vis_timeout=30, use_dead=True)
    assert list(reader.get_data().values()) == ["a"]
    assert [
        item for batch in app.Data("q", attempts=5, vis_timeout=30).stream(get_timeout=1) for item in batch.values()
    ] == ["b"]


def test_a_delay_hides_an_item_until_it_is_over(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=30)
    queue.put_data(["later"], delay=0.3)
    assert queue.get_data() == {}
    assert queue.currently_available() == (0, 1)
    assert list(queue.get_data(get_timeout=10).values()) == ["later"]
    queue.put_data(["much later"], delay=timedelta(hours=1))
    with pytest.raises(ValueError, match="vis_timeout above 0"):
        app.Data("q").put_data(["later"], delay=1)


def test_a_lease_that_was_lost_is_neither_refreshed_nor_done(app: Dibs, broker: BrokerThread) -> None:
    queue = app.Data("q", attempts=9, vis_timeout=0.1)
    (id,) = queue.put_data(["x"])
    assert list(queue.get_data()) == [id]
    with Dibs(broker.target) as second:
        other = second.Data("q", vis_timeout=30)
        assert list(other.get_data(get_timeout=10)) == [id]
        for _ in range(2):
            assert queue.refresh_data([id]) == []
            assert queue.done_data([id]) == 0
        assert other.refresh_data([id]) == [id]
        assert other.done_data([id]) == 1


def test_a_refresh_keeps_what_is_ours(app: Dibs) -> None:
    queue = app.Data("q", attempts=2, vis_timeout=0.3)
    put = queue.put_data([1, 2])
    found = queue.get_data(2)
    queue.done_data(list(found)[:1])
    assert queue.refresh_data(found, vis_timeout=timedelta(seconds=30)) == list(put)[1:]
    time.sleep(0.4)
    assert queue.get_data(10) == {}
    assert queue.refresh_data(found) == list(put)[1:]
    assert list(queue.get_data(10, get_timeout=5)) == list(put)[1:]


def test_ids_from_elsewhere_are_refreshed_and_done_whoever_has_them(app: Dibs) -> None:
    mine, yours = (app.Data("q", attempts=3, vis_timeout=30) for _ in range(2))
    put = mine.put_data([1, 2])
    assert mine.get_data(10) == put
    assert yours.refresh_data(put, vis_timeout=60) == list(put)
    assert yours.done_data(put) == 2


def test_dead_letters_are_taken_once(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=SHORT, use_dead=True)
    put = queue.put_data([1, 2, 3])
    queue.get_data(3)
    dead = app.Data(DEADLETTER_QUEUE)
    assert until_dead(queue, 3).keys() == put.keys()
    assert dead.currently_available() == (3, 0)
    first = dead.get_data(2, get_timeout=5)
    assert len(first) == 2
    assert dead.done_data(first) == 0
    assert dead.refresh_data(first) == []
    assert dead.delete_all() == 1
    assert dead.currently_available() == (0, 0)
    assert dead.get_data(10) == {}


def test_a_dead_letter_is_waited_for(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=0.3, use_dead=True)
    put = queue.put_data(["x"])
    queue.get_data()
    assert app.Data(DEADLETTER_QUEUE).get_data(get_timeout=10).keys() == put.keys()


def test_dead_letters_have_a_queue_of_a_name(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=SHORT, use_dead="broken")
    (mine,) = queue.put_data(["mine"])
    (common,) = queue.put_data(["common"], use_dead=True)
    (nowhere,) = queue.put_data(["nowhere"], use_dead=False)
    assert list(queue.get_data(3)) == [mine, common, nowhere]
    assert list(until_dead(queue, 1, dead="broken")) == [mine]
    assert list(until_dead(queue, 1)) == [common]
    assert queue.currently_available() == (0, 0)


def test_dead_letters_go_back_where_they_came_from(app: Dibs) -> None:
    queue = app.Data("q", attempts=2, vis_timeout=SHORT, use_dead=True)
    put = queue.put_data([1, 2, 3])
    for _ in range(2):
        found: dict[str, Any] = {}
        while len(found) < 3:
            found |= queue.get_data(3, get_timeout=10)
    until_dead(queue, 3)
    dead = app.Data(DEADLETTER_QUEUE)
    one, *others = put
    assert dead.redrive([one]) == 1
    assert list(queue.get_data(3, vis_timeout=30)) == [one]
    assert dead.redrive() == 2
    assert sorted(queue.get_data(3, vis_timeout=30)) == sorted(others)
    with pytest.raises(NotFound):
        dead.redrive([one])
    with pytest.raises(ValueError, match="dead letters"):
        queue.redrive()


def test_a_task_queue_is_read_in_its_own_form(app: Dibs) -> None:
    @app.task(name="add", queue="math", vis_timeout=0.05, use_dead=True)
    def add(a: int, b: int) -> int:
        return a + b

    handle = add.execute(1, b=2)
    queue = app.Data("math", is_tasks=True)
    ((id, entry),) = queue.get_data(vis_timeout=-1).items()
    assert entry[:4] == [handle.taskid, "add", [1], {"b": 2}]
    assert id == handle.taskid
    assert abs(entry[4] - time.time()) < 60
    assert queue.currently_available() == (1, 0)
    assert list(queue.get_data(vis_timeout=SHORT)) == [id]
    dead = app.Data(DEADLETTER_QUEUE, is_tasks=True)
    ((id, letter),) = dead.get_data(get_timeout=10).items()
    assert letter[:4] == [handle.taskid, "add", [1], {"b": 2}]
    assert letter[4] == entry[4]
    assert letter[5] == 1
    assert isinstance(letter[6], str)
    assert abs(letter[7] - time.time()) < 60


def test_kinds_and_namespaces_are_apart(app: Dibs, broker: BrokerThread) -> None:
    app.Data("q").put_data([1])
    assert app.Data("q", is_tasks=True).get_data() == {}
    with Dibs(broker.target, "other") as other:
        assert other.Data("q").get_data() == {}
    assert list(app.Data(b"q").get_data().values()) == [1]


def test_delete_all_leaves_nothing(app: Dibs) -> None:
    queue = app.Data("q", attempts=9, vis_timeout=0.2)
    assert queue.delete_all() == 0
    assert queue.currently_available() == (0, 0)
    queue.put_data(range(5).__iter__())
    queue.put_data(["later"], delay=60)
    leased = queue.get_data(2)
    assert queue.delete_all() == 6
    assert queue.currently_available() == (0, 0)
    assert queue.done_data(leased) == 0
    assert queue.get_data(10, get_timeout=0.4) == {}


def test_puts_inside_of_a_batch_go_with_it(app: Dibs) -> None:
    queue = app.Data("q")
    with app.batch():
        put = queue.put_data(["a", "b"]) | queue.put_data(["c"])
    assert list(put.values()) == ["a", "b", "c"]
    assert queue.get_data(10) == put


def test_what_is_not_json_is_refused_before_anything_is_put(app: Dibs) -> None:
    queue = app.Data("q")
    for bad in (float("nan"), {1, 2}, b"bytes", object()):
        with pytest.raises(PayloadError):
            queue.put_data([1, bad])
    assert queue.get_data(10) == {}


@pytest.mark.parametrize("size", [300_000, 5_000_000])
def test_what_is_too_large_is_refused_before_anything_is_put(app: Dibs, size: int) -> None:
    queue = app.Data("q")
    with pytest.raises(InvalidArgument, match=r"items\[2\]\.content\.payload"):
        queue.put_data([1, 2, "x" * size], chunksize=1)
    assert queue.get_data(10) == {}


def test_what_another_client_put_and_is_no_json_comes_as_bytes(app: Dibs) -> None:
    request = pb.EnqueueRequest()
    request.items.add(queue="q", kind=tpb.QUEUE_KIND_DATA, content=tpb.Content(payload=b"\xff\x00"))
    request.items.add(queue="q", kind=tpb.QUEUE_KIND_TASK, content=tpb.Content(task_name="t", payload=b"["))
    app.transport.run(operations.enqueue(request))
    assert list(app.Data("q").get_data().values()) == [b"\xff\x00"]
    ((id, entry),) = app.Data("q", is_tasks=True).get_data().items()
    assert entry[:4] == [id, "t", b"[", {}]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"attempts": 0}, "attempts"), ({"vis_timeout": -1}, "vis_timeout"), ({"attempts": True}, "attempts")],
)
def test_bad_settings_are_named(app: Dibs, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        app.Data("q", **arguments)


def test_bad_arguments_are_named(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=30)
    for items in (0, MAX_BATCH + 1, True, 1.5):
        with pytest.raises(ValueError, match="items"):
            queue.get_data(items)  # type: ignore[arg-type]
    calls: dict[str, Callable[[], object]] = {
        "get_timeout": lambda: queue.get_data(get_timeout=float("nan")),
        "attempts": lambda: queue.get_data(attempts=0),
        "chunksize": lambda: queue.put_data([1], chunksize=0),
        "delay": lambda: queue.put_data([1], delay=float("nan")),
        "vis_timeout": lambda: queue.refresh_data(["x"], vis_timeout=0),
        "data queues": lambda: app.Data("q", is_tasks=True).put_data([1]),
        "die": lambda: app.Data(DEADLETTER_QUEUE).put_data([1]),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=name):
            call()
    with pytest.raises(TypeError, match="queue"):
        app.Data(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="queue"):
        app.Data("no:colons").put_data([1])


def test_extreme_json_comes_out_as_it_was_put(app: Dibs) -> None:
    deep: Any = []
    for _ in range(400):
        deep = [{"a": deep}]
    brim = "x" * (256 * 1024 - 2)
    assert len(json.dumps(brim)) == 256 * 1024
    items = [10**4000, -(2**64), 2**63, [], {}, [[]], [{}], "", "\u0000\ud800\U0001f600", 1e-300, 0.1, brim, deep]
    queue = app.Data("q")
    put = queue.put_data(items)
    found: dict[str, Any] = {}
    while len(found) < len(items):
        found |= queue.get_data(100)
    assert found == put


async def test_the_same_for_asyncio(app: Dibs) -> None:
    async with AsyncDibs(of=app) as adibs:
        queue = adibs.Data("q", attempts=2, vis_timeout=0.3, use_dead=True)
        put = await queue.put_data(["a", "b"])
        async with adibs.batch():
            put |= await queue.put_data(["c"])
        assert await queue.currently_available() == (3, 0)
        found = await queue.get_data(10, get_timeout=5)
        assert found == put
        first, second, third = found
        assert await queue.done_data([first]) == 1
        assert await queue.refresh_data([second], vis_timeout=30) == [second]
        assert list(await queue.get_data(10, get_timeout=5)) == [third]
        dead = adibs.Data(DEADLETTER_QUEUE)
        assert list(await dead.get_data(10, vis_timeout=0, get_timeout=10)) == [third]
        assert await queue.delete_all() == 1
        assert await dead.redrive() == 0
