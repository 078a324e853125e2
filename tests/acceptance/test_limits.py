"""Client, worker and command keep to the limits of the broker: every item is counted, and none is done twice."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from dibs import AsyncDibs, Dibs, TaskFailed
from dibs.cli.exits import Exit
from dibs.worker.runtime import Worker
from dibs.worker.settings import WorkerSettings

from ..support import redis as redis_support
from ..support.limited import FEW, LARGEST, LEAST
from ..support.operating import dibs
from ..support.processes import running_broker

COUNT = 150
DEAD = "DEADLETTER_QUEUE"


@pytest.fixture(params=[LEAST, FEW, LARGEST], ids=["least", "few", "largest"])
def target(request: pytest.FixtureRequest, redis_programs: Mapping[int, str]) -> Iterator[str]:
    with (
        redis_support.running(redis_programs[max(redis_programs)]) as redis,
        running_broker("--redis", redis.url, *request.param) as broker,
    ):
        yield broker.address


@pytest.fixture
def app(target: str) -> Iterator[Dibs]:
    with Dibs(target, timeout=30) as app:
        yield app


class Counted:
    """A worker in a thread of its own, whose tasks are counted by their arguments."""

    def __init__(self, app: Dibs) -> None:
        self.ran: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.leased = app.task(name="again", queue="again", attempts=2, vis_timeout=60, save_results=60)(self._double)
        self.once = app.task(name="once", queue="once", save_results=60)(self._double)
        self.fails = app.task(name="fails", queue="fails", attempts=1, vis_timeout=60, use_dead=True)(self._fail)
        self._app = app
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._worker: Worker | None = None

    def _double(self, n: int) -> int:
        self.ran[n] += 1
        return 2 * n

    def _fail(self, n: int) -> None:
        self.ran[n] += 1
        raise RuntimeError("on purpose")

    def _work(self) -> None:
        registry = self._app.registry
        self._worker = Worker(self._app.connection, registry.find, registry.names(), WorkerSettings(threads=4, wait=10))
        asyncio.run(self._worker.run())

    def __enter__(self) -> Counted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._worker is not None
        self._worker.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_every_task_runs_once_and_every_result_comes(app: Dibs) -> None:
    work = Counted(app)
    with app.batch():
        handles = [work.leased.execute(n) for n in range(COUNT)]
        handles += [work.once.execute(COUNT + n) for n in range(COUNT)]
    singly = [work.leased.execute(2 * COUNT + n) for n in range(10)]
    with work:
        assert [handle.get(timeout=60) for handle in singly] == [2 * (2 * COUNT + n) for n in range(10)]
        assert [handle.wait(60, until="done") for handle in handles] == [True] * len(handles)
        assert app.results(handle.taskid for handle in handles) == [2 * n for n in range(2 * COUNT)]
    assert work.ran == dict.fromkeys(range(2 * COUNT + 10), 1)
    assert [(name, ready) for name, ready, _ in app.queue_sizes() if ready] == []


def test_the_command_sees_and_handles_every_item(app: Dibs, target: str) -> None:
    work = Counted(app)
    with app.batch():
        handles = [work.leased.execute(n) for n in range(COUNT)]
        fails = [work.fails.execute(COUNT + n) for n in range(60)]
    ids = [handle.taskid for handle in handles]

    listed = dibs(target, "tasks", "again", "--limit", "0", "--json").json
    assert sorted(item["id"] for item in listed["items"]) == sorted(ids)
    shown = dibs(target, "show", *ids, "--json").json
    assert len(shown["items"]) == COUNT
    cancelled = dibs(target, "cancel", *ids[:50], "--json")
    assert cancelled.code == Exit.OK, cancelled.err
    assert {work.leased.execute(999).cancel()} == {True}
    with work:
        for handle in handles[50:]:
            assert handle.wait(60, until="done")
        for failed in fails:
            with pytest.raises(TaskFailed):
                failed.get(timeout=60)
    assert work.ran == dict.fromkeys(range(50, COUNT + 60), 1)

    dead = [item["id"] for item in dibs(target, "dead", "show", "--limit", "0", "--json").json["items"]]
    assert sorted(dead) == sorted(failed.taskid for failed in fails)
    back = dibs(target, "dead", "redrive", *dead[:30], "--yes")
    assert (back.code, back.out) == (Exit.OK, "30 item(s) sent back\n"), back.err
    taken = dibs(target, "dead", "take", "--limit", "5", "--json").json["items"]
    purged = dibs(target, "dead", "purge", *dead[35:], "--yes")
    assert ([item["id"] for item in taken], purged.out) == (dead[30:35], "25 item(s) removed\n"), purged.err


def test_every_data_item_is_put_streamed_refreshed_and_done_once(app: Dibs) -> None:
    data = app.Data("data", attempts=2, vis_timeout=60, use_dead=True)
    put = data.put_data(list(range(COUNT)))
    assert sorted(put.values()) == list(range(COUNT))
    seen: Counter[Any] = Counter()
    for batch in data.stream(items=40, get_timeout=1):
        seen.update(batch.values())
    assert seen == dict.fromkeys(range(COUNT), 1)
    assert data.currently_available() == (0, 0)

    data.put_data(list(range(COUNT)))
    held: dict[str, Any] = {}
    while got := data.get_data(items=100):
        held |= got
    assert sorted(held.values()) == list(range(COUNT))
    assert sorted(data.refresh_data(held)) == sorted(held)
    assert data.done_data(held) == COUNT
    assert data.get_data(items=10, get_timeout=2) == {}


async def test_the_asyncio_client_keeps_to_them_too(app: Dibs) -> None:
    async with AsyncDibs(of=app) as adibs:
        data = adibs.Data("async", attempts=1, vis_timeout=60, use_dead=True)
        async with adibs.batch():
            for n in range(COUNT):
                await data.put_data(n)
        seen: Counter[Any] = Counter()
        async with aclosing(data.stream(items=40, get_timeout=1)) as batches:
            async for batch in batches:
                seen.update(batch.values())
                batch.fail(list(batch)[:1], "why " * 100)
        assert seen == dict.fromkeys(range(COUNT), 1)
        dead = adibs.Data(DEAD, is_dead=True)
        letters: dict[str, Any] = {}
        while got := await dead.get_data(items=1000):
            assert not letters.keys() & got.keys()
            letters |= got
        assert letters


def test_large_items_pass_where_they_may(target: str, app: Dibs, request: pytest.FixtureRequest) -> None:
    if request.node.callspec.id != "largest":
        pytest.skip("only where payloads may be large")
    data = app.Data("large", vis_timeout=60)
    large = "x" * 5_000_000
    (id,) = data.put_data(large, is_one=True)
    assert data.get_data() == {id: large}
    assert data.done_data([id]) == 1
    big = app.task(name="big", vis_timeout=60, save_results=60)(lambda: large)
    handle = big.execute()
    work = Counted(app)
    with work:
        assert handle.wait(60, until="done")
        assert handle.get(timeout=10) == large
