"""One of two brokers freezes: whoever called it is answered by the other, soon and without an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dibs import AsyncDibs, DeadlineExceeded, Dibs

from ..support import redis as redis_support
from ..support.balancers import running_balancer
from ..support.fleet import Fleet
from ..support.waiting import until as wait_until
from ..support.worker_process import running_worker

#: An attempt that gets no answer in 5 s, and one with the other broker.
SOON_S = 8.0
#: As long as the broker was asked to wait, on top.
WAITED_S = 8.0
#: Three heartbeats that do not come, what a balancer takes to notice (nginx: 4 s), another stream, and a busy machine.
HEARD_S = 15.0 + 4.0 + 5.0
#: nginx does not look whether a broker lives: the second attempt may meet the frozen one again, until nginx gives up.
WITH_BAD_LUCK_S = 4.0


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Two brokers on the newest Redis; clients call the first of them as long as it answers."""
    programs = redis_support.found_programs()
    with redis_support.running(programs[max(programs)]) as server, Fleet(server.url) as fleet:
        fleet.start()
        yield fleet


def both(fleet: Fleet) -> str:
    return "ipv4:" + ",".join(fleet.addresses)


def in_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call took, and what it returned."""
    began = time.monotonic()
    value = call()
    return time.monotonic() - began, value


def test_blocking_calls_are_answered_by_the_other_broker(fleet: Fleet) -> None:
    with Dibs(fleet.addresses[1]) as sound, ExitStack() as open_clients, ThreadPoolExecutor(16) as pool:
        apps = [open_clients.enter_context(Dibs(both(fleet))) for _ in range(4)]
        executing, putting, getting, waiting = apps
        task = executing.task(name="t", queue="tasks")(lambda: None)
        for app in apps:
            app.known_queues()
        task.execute()
        sound.Data("there").put_data("x")

        late = pool.submit(in_seconds, lambda: waiting.Data("late").get_data(get_timeout=60))
        time.sleep(0.5)  # so that it waits at the broker
        fleet.members[0].freeze()
        calls = [
            pool.submit(in_seconds, task.execute),
            pool.submit(in_seconds, lambda: putting.Data("put").put_data("y")),
            pool.submit(in_seconds, lambda: getting.Data("there").get_data()),
            *(pool.submit(in_seconds, task.execute) for _ in range(8)),
        ]
        sound.Data("late").put_data("z")

        took = [call.result() for call in calls]
        assert max(seconds for seconds, _ in took) < SOON_S
        assert list(took[2][1].values()) == ["x"]
        seconds, found = late.result()
        assert list(found.values()) == ["z"]
        assert seconds < 0.5 + SOON_S + WAITED_S
        # Nothing was done twice, also when the frozen broker gets to what it was sent.
        fleet.members[0].thaw()
        with Dibs(fleet.addresses[0]) as thawed:
            thawed.known_queues()
        assert sound.Data("put").currently_available() == (1, 0)
        assert sound.Data("tasks", is_tasks=True).currently_available() == (10, 0)
        # And the client stays where it was answered.
        assert in_seconds(task.execute)[0] < 1


def test_asyncio_calls_are_answered_by_the_other_broker(fleet: Fleet) -> None:
    async def timed(call: Coroutine[Any, Any, Any]) -> tuple[float, Any]:
        began = time.monotonic()
        value = await call
        return time.monotonic() - began, value

    async def calls() -> list[tuple[float, Any]]:
        async with AsyncDibs(both(fleet)) as app:
            task = app.task(name="t", queue="tasks")(lambda: None)
            await task.execute()
            await app.Data("there").put_data("x")
            fleet.members[0].freeze()
            return list(
                await asyncio.gather(
                    timed(task.execute()), timed(app.Data("put").put_data("y")), timed(app.Data("there").get_data())
                )
            )

    took = asyncio.run(calls())
    assert max(seconds for seconds, _ in took) < SOON_S
    assert list(took[2][1].values()) == ["x"]
    with Dibs(fleet.addresses[1]) as sound:
        assert sound.Data("put").currently_available() == (1, 0)
        assert sound.Data("tasks", is_tasks=True).currently_available() == (2, 0)


def test_what_must_not_be_repeated_waits_for_its_answer(fleet: Fleet) -> None:
    with Dibs(both(fleet), timeout=3, try_timeout=0.5) as app:
        dead = app.Data("DEADLETTER_QUEUE", is_dead=True)
        dead.currently_available()
        fleet.members[0].freeze()
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            dead.redrive()
        assert 2.9 < time.monotonic() - began < 5
        # The next call goes to the other broker at once.
        assert in_seconds(dead.currently_available)[0] < 2


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_calls_through_a_balancer_are_answered_by_the_other_broker(fleet: Fleet, kind: str) -> None:
    with (
        running_balancer(kind, fleet.addresses) as balancer,
        ExitStack() as open_clients,
        ThreadPoolExecutor(4) as pool,
    ):
        if kind == "haproxy":
            wait_until(lambda: set(balancer.states().values()) == {"UP"})
        apps = [open_clients.enter_context(Dibs(balancer.target)) for _ in range(4)]
        tasks = [app.task(name="t", queue="tasks")(lambda: None) for app in apps]
        for task in tasks:  # their streams are on both brokers
            task.execute()
        fleet.members[0].freeze()
        took = list(pool.map(lambda task: in_seconds(task.execute)[0], tasks))
        assert max(took) < {"haproxy": SOON_S, "nginx": SOON_S + WITH_BAD_LUCK_S}[kind]
        # Those that had the frozen one were late, and only those.
        assert min(took) < 1 < 5 < max(took)
    with Dibs(fleet.addresses[1]) as sound:
        assert sound.Data("tasks", is_tasks=True).currently_available() == (8, 0)


@pytest.mark.parametrize("way", ["directly", "nginx", "haproxy"])
def test_streams_go_to_the_other_broker_when_nothing_is_heard(way: str, tmp_path: Path) -> None:
    programs = redis_support.found_programs()
    with (
        redis_support.running(programs[max(programs)]) as server,
        Fleet(server.url) as fleet,
        ExitStack() as open_things,
    ):
        frozen, other = fleet.members
        frozen.start()  # alone: so all streams are on it
        target = both(fleet)
        if way != "directly":
            balancer = open_things.enter_context(running_balancer(way, fleet.addresses))
            target = balancer.target
        open_things.enter_context(running_worker(target, tmp_path))
        consumer = open_things.enter_context(Dibs(target))
        with Dibs(frozen.address) as first:
            quick = first.task(name="quick")(lambda _: None)
            quick.execute("before")
            wait_until(lambda: "quick before" in journal(tmp_path), "no worker")
            first.Data("q").put_data("before")
        batches = consumer.Data("q", vis_timeout=60).stream(items=1, get_timeout=60)
        assert list(next(batches).values()) == ["before"]
        pool = open_things.enter_context(ThreadPoolExecutor(1))
        other.start()
        if way == "haproxy":
            wait_until(lambda: set(balancer.states().values()) == {"UP"})
        time.sleep(1)  # so that all have agreed on heartbeats
        frozen.freeze()
        with Dibs(other.address) as second:
            quick.on(second).execute("after")
            second.Data("q").put_data("after")
            streamed = pool.submit(in_seconds, lambda: next(batches))
            worked = in_seconds(lambda: wait_until(lambda: "quick after" in journal(tmp_path), "lost", HEARD_S))[0]
            seconds, batch = streamed.result()
        assert list(batch.values()) == ["after"]
        assert worked < HEARD_S
        assert seconds < HEARD_S


def journal(folder: Path) -> str:
    """What the tasks of a worker have done."""
    path = folder / "journal"
    return path.read_text() if path.exists() else ""
