"""Loops over the items of a data queue, on one open stream."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from dibs import DEADLETTER_QUEUE, AsyncDibs, Data, Dibs

from ..support.broker_thread import BrokerThread
from ..support.proxy import between
from ..support.waiting import until


@pytest.fixture
def queue(app: Dibs) -> Data:
    return app.Data("q", attempts=3, vis_timeout=30)


def seen(queue: Data, count: int, *, items: int = 100, **options: Any) -> list[Any]:
    """That many items, from a loop that is then left at the end of its body."""
    found: list[Any] = []
    for batch in queue.stream(items, get_timeout=10, **options):
        found += batch.values()
        if len(found) >= count:
            batch.done(batch)
            break
    return found


def test_what_the_body_went_through_is_done(queue: Data) -> None:
    queue.put_data(list(range(250)))
    sizes: list[int] = []
    found: list[Any] = []
    for batch in queue.stream(items=100, get_timeout=0.2):
        sizes.append(len(batch))
        found += batch.values()
    assert found == list(range(250))
    assert sizes == [100, 100, 50]
    assert queue.currently_available() == (0, 0)


def test_a_body_may_use_its_batch_up(queue: Data) -> None:
    queue.put_data(list(range(250)))
    found: list[Any] = []
    for batch in queue.stream(items=100, get_timeout=0.2):
        while batch:
            found.append(batch.popitem()[1])
    assert sorted(found) == list(range(250))
    assert queue.currently_available() == (0, 0)


def test_items_that_come_later_arrive_on_the_same_stream(queue: Data) -> None:
    def put() -> None:
        for number in range(5):
            time.sleep(0.05)
            queue.put_data([number])

    thread = threading.Thread(target=put)
    thread.start()
    assert seen(queue, 5) == list(range(5))
    thread.join()
    assert queue.currently_available() == (0, 0)


def test_leaving_the_loop_gives_back_what_is_not_done(queue: Data) -> None:
    put = queue.put_data(list(range(10)))
    for batch in queue.stream(items=5, vis_timeout=60):
        batch.done(list(batch)[:2])
        break
    assert queue.currently_available() == (8, 0)
    # At the head of the queue, and without an attempt used.
    assert queue.get_data(10) == dict(list(put.items())[2:])


def test_an_exception_gives_back_what_is_not_done(queue: Data) -> None:
    queue.put_data([1, 2, 3], attempts=1)

    def fail() -> None:
        for _ in queue.stream():
            raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fail()
        assert queue.currently_available() == (3, 0)
    assert seen(queue, 3) == [1, 2, 3]


def test_items_can_fail_and_go_back(app: Dibs, queue: Data) -> None:
    good, bad, other = queue.put_data(["good", "bad", "other"], use_dead=True, attempts=1)
    for batch in queue.stream(get_timeout=5):
        batch.fail(bad, ValueError("no good"), delay=0)
        batch.release([other])
        batch.release("not here")
        batch.done([bad])
        if good in batch:
            continue
        break
    dead = app.Data(DEADLETTER_QUEUE).get_data(10, get_timeout=5)
    assert dead[bad][3]["last_error"] == "no good"
    assert list(queue.get_data(10, get_timeout=5)) == [other]


def test_what_fails_comes_again_even_while_its_batch_is_still_worked_on(queue: Data) -> None:
    queue.put_data(["good"] * 500)
    bad = queue.put_data(["bad"] * 10, attempts=3)
    tries = dict.fromkeys(bad, 0)
    for batch in queue.stream(items=50, get_timeout=1):
        for id in tries.keys() & batch:
            tries[id] += 1
            if tries[id] < 3:
                batch.fail(id, delay=0)
        if tries.keys() & batch:
            time.sleep(0.05)  # meanwhile they are here again: the loop has been quick, and asks ahead
    assert set(tries.values()) == {3}
    assert queue.currently_available() == (0, 0)


def test_leases_are_refreshed_while_the_body_runs(queue: Data) -> None:
    queue.put_data([1, 2])
    for batch in queue.stream(vis_timeout=0.4):
        time.sleep(1)
        assert not batch.lost
        assert queue.get_data(10) == {}
        batch.done(batch)
        break
    assert queue.currently_available() == (0, 0)


def test_nothing_is_held_beyond_the_batch(queue: Data) -> None:
    queue.put_data(list(range(50)))
    for batch in queue.stream(items=5):
        assert len(batch) == 5
        assert queue.currently_available() == (45, 5)
        queue.put_data(["more"])
        time.sleep(0.1)
        assert queue.currently_available() == (46, 5)
        break


def test_lost_items_are_told(queue: Data) -> None:
    queue.put_data([1, 2])
    for batch in queue.stream(vis_timeout=0.4):
        first, second = batch
        assert queue.done_data([first]) == 1 or queue.delete_all()
        until(lambda: first in batch.lost)  # noqa: B023 - it is called here
        assert second not in batch.lost
        break
    assert queue.currently_available() == (1, 0)


def test_a_loop_ends_when_nothing_comes(queue: Data) -> None:
    began = time.monotonic()
    assert list(queue.stream(get_timeout=0.3)) == []
    assert 0.3 <= time.monotonic() - began < 5


def test_a_stream_that_breaks_is_replaced(broker: BrokerThread, caplog: pytest.LogCaptureFixture) -> None:
    with between(broker.target) as proxy, Dibs(proxy.target) as through, Dibs(broker.target) as direct:
        queue = direct.Data("q", attempts=3, vis_timeout=30)
        queue.put_data(list(range(6)))
        found: list[Any] = []
        for batch in through.Data("q", vis_timeout=30).stream(items=2, get_timeout=1):
            found += batch.values()
            if len(found) <= 4:
                proxy.cut()
                until(lambda: "opening another" in caplog.text)
                caplog.clear()
        # What the broker had not heard to have arrived came again.
        assert set(found) == set(range(6))

        def nothing_left() -> bool:
            # What went down a stream just when it broke is back as soon as the broker notices, and long before its
            # lease runs out; on a busy machine that may be after the loop.
            queue.done_data(queue.get_data(10))
            return queue.currently_available() == (0, 0)

        until(nothing_left)


def test_a_broker_that_goes_away_is_waited_for(app: Dibs, broker: BrokerThread) -> None:
    queue = app.Data("q", attempts=3, vis_timeout=30)
    queue.put_data([1, 2])
    found: list[Any] = []
    for batch in queue.stream(items=1, get_timeout=20):
        found += batch.values()
        if len(found) == 1:
            broker.stop()
            broker.start()
        else:
            batch.done(batch)
            break
    assert found == [1, 2]
    assert queue.currently_available() == (0, 0)


@pytest.mark.parametrize("filler", ["x", "€"])
def test_long_error_texts_of_many_items_arrive(queue: Data, filler: str) -> None:
    """They fill more than one message."""
    queue.put_data(list(range(1_000)))
    error = filler * 9_000
    found: list[int] = []
    for batch in queue.stream(items=1_000, get_timeout=10):
        batch.fail(batch, error, delay=60)
        found += batch.values()
        if len(found) == 1_000:
            break
    assert queue.currently_available() == (0, 1_000)
    assert sorted(found) == list(range(1_000))


def test_a_stream_to_nowhere_ends_with_an_error() -> None:
    with Dibs("127.0.0.1:1", timeout=0.3) as app, pytest.raises(ConnectionError):
        next(app.Data("q", vis_timeout=1).stream())


def test_a_closed_client_ends_the_loop(broker: BrokerThread, caplog: pytest.LogCaptureFixture) -> None:
    app = Dibs(broker.target)
    batches = app.Data("q", vis_timeout=30).stream()
    timer = threading.Timer(0.2, app.close)
    timer.start()
    with caplog.at_level(logging.CRITICAL, "dibs"), pytest.raises(Exception, match="closed"):
        next(batches)
    timer.join()


def test_tasks_can_be_streamed_too(app: Dibs) -> None:
    handle = app.task(name="t", queue="work", vis_timeout=30, save_results=60)(lambda _: None).execute(5)
    ((_, name, args, _, _),) = seen(app.Data("work", is_tasks=True), 1, vis_timeout=30)
    assert (name, args) == ("t", [5])
    assert handle.status == "done"


def test_bad_arguments_are_refused_at_once(app: Dibs, queue: Data) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: queue.stream(0),
        lambda: queue.stream(vis_timeout=0),
        lambda: queue.stream(get_timeout=float("nan")),
        lambda: queue.stream(prefetch=-1),
        lambda: queue.stream(prefetch=9_001),
        lambda: app.Data("q").stream(),
        lambda: app.Data(DEADLETTER_QUEUE, vis_timeout=5).stream(),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"items|vis_timeout|get_timeout|prefetch"):
            call()


@pytest.fixture
def threads() -> Iterator[None]:
    """Nothing is left running."""
    before = set(threading.enumerate())
    yield
    until(lambda: not [thread for thread in set(threading.enumerate()) - before if "dibs-stream" in thread.name])


@pytest.mark.usefixtures("threads")
def test_nothing_is_left_of_a_loop(queue: Data) -> None:
    queue.put_data([1])
    for _ in queue.stream():
        break


async def test_the_same_for_asyncio(app: Dibs) -> None:
    async with AsyncDibs(of=app) as adibs:
        queue = adibs.Data("q", attempts=3, vis_timeout=0.5)
        await queue.put_data(list(range(10)))
        found: list[Any] = []
        async with aclosing(queue.stream(items=4)) as batches:
            async for batch in batches:
                found += batch.values()
                if len(found) == 8:
                    await asyncio.sleep(1)
                    batch.done(list(batch)[:3])
                    break
        assert found == list(range(8))
        assert await queue.currently_available() == (3, 0)
        assert list((await queue.get_data(10)).values()) == [7, 8, 9]


async def test_a_body_in_asyncio_may_use_its_batch_up(app: Dibs) -> None:
    async with AsyncDibs(of=app) as adibs:
        queue = adibs.Data("q", attempts=3, vis_timeout=30)
        await queue.put_data(list(range(10)))
        async for batch in queue.stream(items=4, get_timeout=0.2):
            batch.clear()
        assert await queue.currently_available() == (0, 0)


async def test_asyncio_loops_end_and_come_back(app: Dibs, broker: BrokerThread) -> None:
    async with AsyncDibs(of=app) as adibs:
        queue = adibs.Data("q", attempts=3, vis_timeout=30)
        assert [batch async for batch in queue.stream(get_timeout=0.2)] == []
        await queue.put_data([1, 2])
        found: list[Any] = []
        async for batch in queue.stream(items=1, get_timeout=10):
            found += batch.values()
            if len(found) == 1:
                await asyncio.to_thread(broker.stop)
                await asyncio.to_thread(broker.start)
            else:
                batch.done(batch)
                break
        assert found == [1, 2]
        await asyncio.to_thread(until, lambda: app.Data("q").currently_available() == (0, 0))


async def test_asyncio_loops_end_with_their_client(app: Dibs) -> None:
    adibs = AsyncDibs(of=app)
    waiting = asyncio.create_task(anext(adibs.Data("q", vis_timeout=30).stream()))
    await asyncio.sleep(0.2)
    await adibs.close()
    with pytest.raises(Exception, match="closed"):
        await waiting
    async with AsyncDibs("127.0.0.1:1", timeout=0.3) as nowhere:
        with pytest.raises(ConnectionError):
            await anext(nowhere.Data("q", vis_timeout=1).stream())
