"""What rpqueue's manual says of data queues, section by section, on two brokers as a user starts them."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dibs
from dibs import DEADLETTER_QUEUE, Data, Dibs

from ..support import redis as redis_support
from ..support.imports import SOURCES
from ..support.processes import running_broker, running_dibs

_numbers = itertools.count()


@pytest.fixture(scope="module")
def targets(redis_programs: dict[int, str]) -> Iterator[list[str]]:
    """Where two brokers on one Redis are."""
    with redis_support.running(redis_programs[max(redis_programs)]) as redis:
        options = ("--redis", redis.url)
        with running_broker(*options) as one, running_broker(*options) as two:
            yield [one.address, two.address]


@pytest.fixture
def app(targets: list[str]) -> Iterator[Dibs]:
    """A client of one of them, in a namespace of its own."""
    with Dibs(targets[0], f"test{next(_numbers)}") as app:
        yield app


@pytest.fixture
def other(app: Dibs, targets: list[str]) -> Iterator[Dibs]:
    """A client of the other broker, in the same namespace."""
    with Dibs(targets[1], app.namespace) as other:
        yield other


def until_dead(app: Dibs, count: int, *, is_tasks: bool = False) -> dict[str, Any]:
    letters = app.Data(DEADLETTER_QUEUE, is_tasks=is_tasks)
    deadline = time.monotonic() + 20
    while len(found := letters.get_data(1000, vis_timeout=-1)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


# Data queues: a few examples


def test_a_few_examples_best_effort(app: Dibs, other: Dibs) -> None:
    app.Data("best_effort").put_data(["a", "b", "c"])
    queue = other.Data("best_effort")
    assert list(queue.get_data(2).values()) == ["a", "b"]
    assert list(queue.get_data(2).values()) == ["c"]
    assert queue.get_data(2) == {}


def test_a_few_examples_retry_processing(app: Dibs, other: Dibs) -> None:
    queue = app.Data("retry_processing", attempts=5, vis_timeout=0.5)
    queue.put_data(list(range(6)))
    items = queue.get_data(2)
    items2 = queue.get_data(2, vis_timeout=20)
    forgotten = queue.get_data(2)
    refreshed = set(queue.refresh_data(items, vis_timeout=7))
    assert refreshed == set(items)
    assert queue.done_data(items) == 2
    assert queue.done_data(items2) == 2
    for _ in range(4):  # what was not done comes again, 5 times in all
        assert other.Data("retry_processing", vis_timeout=0.1).get_data(2, get_timeout=5).keys() <= forgotten.keys()
    assert queue.done_data(forgotten) == 0


def test_a_few_examples_dead_letters(app: Dibs, other: Dibs) -> None:
    queue = app.Data("retry_processing", attempts=1, vis_timeout=0.2, use_dead=True)
    queue.put_data(["w", "x", "y", "z"])
    items = queue.get_data(2, vis_timeout=30)
    items2 = queue.get_data(2)
    assert set(queue.refresh_data(items, vis_timeout=20)) == set(items)
    assert queue.done_data(items) == 2
    until_dead(app, 2)
    dead_items = other.Data(DEADLETTER_QUEUE).get_data(2)
    assert {id: letter[2] for id, letter in dead_items.items()} == items2
    assert other.Data(DEADLETTER_QUEUE).get_data(2) == {}


# class Data


def test_class_data_the_receiver_controls_visibility(app: Dibs) -> None:
    queue = app.Data("queue_name", attempts=2)
    one, two = queue.put_data([1, 2])
    assert list(queue.get_data()) == [one]  # taken for good
    for _ in range(2):
        assert list(queue.get_data(vis_timeout=0.1, get_timeout=5)) == [two]
    assert queue.get_data(vis_timeout=5, get_timeout=0.3) == {}
    assert app.Data(DEADLETTER_QUEUE).currently_available() == (0, 0)


def test_class_data_with_defaults(app: Dibs) -> None:
    queue = app.Data("queue_name", attempts=1, vis_timeout=0.1, use_dead=True, is_tasks=False)
    taken, lost = queue.put_data(["taken", "lost"])
    assert list(queue.get_data(vis_timeout=0)) == [taken]
    assert list(queue.get_data(vis_timeout=0.2)) == [lost]
    assert list(until_dead(app, 1)) == [lost]
    assert queue.currently_available() == (0, 0)


def test_class_data_dead_letters_are_pulled_once(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=0.05, use_dead=True)
    queue.put_data([1])
    queue.get_data()
    until_dead(app, 1)
    dead = app.Data(DEADLETTER_QUEUE)
    assert len(dead.get_data(10, vis_timeout=0.05)) == 1  # whatever vis_timeout says
    time.sleep(0.2)
    assert dead.get_data(10) == {}


def test_class_data_currently_available(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=30)
    assert queue.currently_available() == (0, 0)
    queue.put_data([1, 2, 3])
    queue.put_data([4], delay=60)
    queue.get_data(2)
    assert queue.currently_available() == (1, 3)


def test_class_data_delete_all(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=0.05, use_dead=True)
    queue.put_data([1])
    queue.get_data()
    until_dead(app, 1)
    queue.put_data([1, 2, 3])
    job = app.task(name="job", queue="q")(lambda: None)
    job.execute()
    queue.delete_all()
    assert queue.currently_available() == (0, 0)
    assert app.Data("q", is_tasks=True).currently_available() == (1, 0)
    app.Data("q", is_tasks=True).delete_all()
    assert app.Data("q", is_tasks=True).currently_available() == (0, 0)
    assert app.Data(DEADLETTER_QUEUE).currently_available() == (1, 0)
    app.Data(DEADLETTER_QUEUE).delete_all()
    assert app.Data(DEADLETTER_QUEUE).currently_available() == (0, 0)


def test_class_data_get_data_of_one_to_a_thousand(app: Dibs) -> None:
    queue = app.Data("q")
    queue.put_data(list(range(1_100)))
    assert list(queue.get_data().values()) == [0]
    assert list(queue.get_data(1_000).values()) == list(range(1, 1_001))
    assert len(queue.get_data(1_000)) == 99


def test_class_data_get_data_looks_below_zero(app: Dibs) -> None:
    queue = app.Data("q")
    put = queue.put_data([1, 2])
    assert queue.get_data(5, vis_timeout=-1) == put
    assert queue.get_data(5) == put


def test_class_data_get_data_waits(app: Dibs, other: Dibs) -> None:
    putter = threading.Timer(0.3, other.Data("q").put_data, [["late"]])
    putter.start()
    began = time.monotonic()
    assert list(app.Data("q").get_data(10, get_timeout=20).values()) == ["late"]
    assert 0.2 < time.monotonic() - began < 10
    putter.join()


def test_class_data_use(app: Dibs) -> None:
    queue = app.Data("queue_name", attempts=3)
    inserted = queue.put_data([1, 2, 3, 4])
    removed = queue.get_data(2, vis_timeout=30)
    assert removed.items() <= inserted.items()
    assert queue.refresh_data(removed, vis_timeout=45) == list(removed)
    assert queue.done_data(removed) == 2
    assert queue.currently_available() == (2, 0)


def test_class_data_put_data(app: Dibs) -> None:
    queue = app.Data("q", vis_timeout=0.1)
    put = queue.put_data([{"a": 1}, [2]], chunksize=1)
    put |= queue.put_data([1, 2], is_one=True, use_dead=True)
    assert list(put.values()) == [{"a": 1}, [2], [1, 2]]
    assert len(put) == 3
    assert queue.get_data(10) == put
    assert [letter[2] for letter in until_dead(app, 1).values()] == [[1, 2]]
    queue.put_data(["later"], delay=0.3)
    assert queue.get_data() == {}
    assert list(queue.get_data(get_timeout=5).values()) == ["later"]
    with pytest.raises(ValueError, match="vis_timeout"):
        app.Data("q").put_data(["later"], delay=0.3)


def test_class_data_refresh_data_tells_what_was_refreshed(app: Dibs) -> None:
    queue = app.Data("q", attempts=1, vis_timeout=0.2)
    queue.put_data([1, 2])
    kept, lost = queue.get_data(2)
    assert queue.refresh_data([kept], vis_timeout=30) == [kept]
    time.sleep(0.4)
    assert queue.refresh_data([kept, lost, "never.there"], vis_timeout=30) == [kept]


# Deadletter task queue


def test_deadletter_task_queue(targets: list[str], tmp_path: Any) -> None:
    module = tmp_path / "failing.py"
    module.write_text(
        "import dibs\n"
        "@dibs.task(name='fails', attempts=2, vis_timeout=30, retry_delay=0.05, use_dead=True)\n"
        "def fails(number, **kwargs):\n"
        "    raise ValueError(f'no {number}')\n"
    )
    with Dibs(targets[0], "tasks") as app:
        options = ("--target", targets[1], "--namespace", "tasks")
        with running_dibs("worker", str(module), *options, cwd=SOURCES) as worker:
            worker.until_printed("registered")
            # Its code is elsewhere, and the broker knows how it is to be called.
            assert app.known_tasks() == ["fails"]
            handle = app.call_task("fails", None, 7, extra="x", _verify_call=True)
            until_dead(app, 1, is_tasks=True)
        dead = app.Data(DEADLETTER_QUEUE, is_tasks=True)
        ((id, entry),) = dead.get_data(items=5).items()
        assert entry[:3] == [handle.taskid, "fails", [7]]
        assert entry[3]["extra"] == "x"
        assert (id, entry[5]) == (handle.taskid, 2)
        assert "ValueError: no 7" in entry[6]
        assert entry[4] <= entry[7] <= time.time() + 60
        assert dead.get_data(items=5) == {}


# The names of the package


def test_the_package_has_data_of_its_default_instance(targets: list[str]) -> None:
    dibs.connect(targets[0], "package")
    try:
        queue = dibs.Data(b"q", vis_timeout=30)
        queue.put_data([1])
        assert dibs.known_queues(is_data=True) == ["q"]
        assert queue.done_data(queue.get_data()) == 1
    finally:
        dibs.close()


# Two consumers never hold one item at once


def test_two_consumers_on_two_brokers_never_hold_one_item_at_once(app: Dibs, other: Dibs) -> None:
    count = 400
    app.Data("q", attempts=1000).put_data(list(range(count)))
    lock = threading.Lock()
    held: set[str] = set()
    done: list[str] = []
    faults: list[str] = []

    def consume(queue: Data, seed: int) -> None:
        chance = random.Random(seed)
        while True:
            # Each loop is left after a few turns, with some items done and the others given back. What was on its way
            # then comes back after a second, so that nobody may go before.
            for turn, batch in enumerate(queue.stream(items=chance.randint(1, 30), get_timeout=4)):
                with lock:
                    faults.extend(held.intersection(batch))
                    held.update(batch)
                time.sleep(0.002)  # long enough for somebody else to get what is ours
                finished = [id for id in batch if chance.random() < 0.5]
                with lock:
                    done.extend(finished)
                    held.difference_update(batch)
                batch.done(finished)
                if turn == 3:
                    break
                batch.release(batch)
            else:
                return

    consumers = [
        threading.Thread(target=consume, args=(instance.Data("q", vis_timeout=30), seed))
        for seed, instance in enumerate((app, other, app, other))
    ]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join()
    assert not faults
    assert len(done) == len(set(done)) == count
    assert app.Data("q").currently_available() == (0, 0)


# All items must be json-encodable, and come out as they were put


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types throughout: 1 is neither True nor 1.0 here."""
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(JSON, min_size=1, max_size=8))
def test_any_json_comes_out_as_it_was_put(app: Dibs, items: list[Any]) -> None:
    queue = app.Data("any", vis_timeout=30)
    put = queue.put_data(items)
    found: dict[str, Any] = {}
    while len(found) < len(items):
        found |= queue.get_data(1_000)
    assert queue.done_data(found) == len(items)
    assert list(found) == list(put)
    assert all(map(same, found.values(), items))
