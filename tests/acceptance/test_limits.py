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
from dibs.admin.registration import Registered, described, registration
from dibs.cli.exits import Exit
from dibs.rpc.ids import new_id
from dibs.worker.runtime import Worker
from dibs.worker.shared.settings import WorkerSettings

from ..support import operating
from ..support import redis as redis_support
from ..support.limited import FEW, LARGEST, LEAST, SMALL_MESSAGES
from ..support.operating import Said
from ..support.processes import running_broker

COUNT = 150
DEAD = "DEADLETTER_QUEUE"


@pytest.fixture(scope="module")
def redis_url(redis_programs: Mapping[int, str]) -> Iterator[str]:
    with redis_support.running(redis_programs[max(redis_programs)]) as redis:
        yield redis.url


@pytest.fixture(scope="module", params=[LEAST, FEW, LARGEST], ids=["least", "few", "largest"])
def target(request: pytest.FixtureRequest, redis_url: str) -> Iterator[str]:
    with running_broker("--redis", redis_url, *request.param) as broker:
        yield broker.address


@pytest.fixture
def app(target: str) -> Iterator[Dibs]:
    with Dibs(target, new_id()[:16], timeout=30) as app:
        yield app


@pytest.fixture(scope="module")
def small_target(redis_url: str) -> Iterator[str]:
    with running_broker("--redis", redis_url, *SMALL_MESSAGES) as broker:
        yield broker.address


@pytest.fixture
def small_app(small_target: str) -> Iterator[Dibs]:
    with Dibs(small_target, new_id()[:16], timeout=30) as app:
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
    def dibs(*words: str) -> Said:
        return operating.dibs(target, *words, "--namespace", app.namespace)

    work = Counted(app)
    with app.batch():
        handles = [work.leased.execute(n) for n in range(COUNT)]
        fails = [work.fails.execute(COUNT + n) for n in range(60)]
    ids = [handle.taskid for handle in handles]

    listed = dibs("tasks", "again", "--limit", "0", "--json").json
    assert sorted(item["id"] for item in listed["items"]) == sorted(ids)
    shown = dibs("show", *ids, "--json").json
    assert len(shown["items"]) == COUNT
    cancelled = dibs("cancel", *ids[:50], "--json")
    assert cancelled.code == Exit.OK, cancelled.err
    assert work.leased.execute(999).cancel()
    with work:
        for handle in handles[50:]:
            assert handle.wait(60, until="done")
        for failed in fails:
            with pytest.raises(TaskFailed):
                failed.get(timeout=60)
    assert work.ran == dict.fromkeys(range(50, COUNT + 60), 1)

    dead = [item["id"] for item in dibs("dead", "show", "--limit", "0", "--json").json["items"]]
    assert sorted(dead) == sorted(failed.taskid for failed in fails)
    back = dibs("dead", "redrive", *dead[:30], "--yes")
    assert (back.code, back.out) == (Exit.OK, "30 item(s) sent back\n"), back.err
    taken = dibs("dead", "take", "--limit", "5", "--json").json["items"]
    purged = dibs("dead", "purge", *dead[35:], "--yes")
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


def test_every_task_and_schedule_is_registered_and_those_that_went_are_removed(app: Dibs) -> None:
    def code(count: int) -> Registered:
        module = Dibs(app.connection.target, app.namespace)
        for n in range(count):
            module.periodic_task(3600, name=f"p{n}")(lambda: None)
        definitions = [task.definition for task in module.registry.tasks()]
        return app.run(registration(app.namespace, *described(definitions), "module"))

    first = code(50)
    assert (first.tasks, first.schedules, list(first.removed), first.refused) == (50, 50, [], {})
    assert {f"p{n}" for n in range(50)} <= set(app.known_tasks())
    second = code(40)
    assert (second.schedules, sorted(second.removed)) == (40, [f"p{n}" for n in range(40, 50)])
    said = operating.dibs(app.connection.target, "schedules", "--json", "--namespace", app.namespace)
    assert len(said.json["schedules"]) == 40


@pytest.mark.parametrize("target", [LARGEST], ids=["largest"], indirect=True)
def test_large_items_and_results_pass_where_they_may(app: Dibs) -> None:
    data = app.Data("large", vis_timeout=60)
    large = "x" * 5_000_000
    (id,) = data.put_data(large, is_one=True)
    assert data.get_data() == {id: large}
    assert data.done_data([id]) == 1
    handle = app.task(name="big", vis_timeout=60, save_results=60)(lambda: large).execute()
    with Counted(app):
        assert handle.get(timeout=60) == large


def test_messages_are_filled_and_never_too_large(small_app: Dibs) -> None:
    long = "x" * 900
    data = small_app.Data("data", attempts=1, vis_timeout=60, use_dead=True)
    put = data.put_data([f"{n} {long}" for n in range(400)])
    held: dict[str, Any] = {}
    while got := data.get_data(items=1000):
        held |= got
    assert held == put
    assert data.done_data(held) == 400

    again = data.put_data([f"{n} {long}" for n in range(100)])
    failed: dict[str, Any] = {}
    for batch in data.stream(items=50, get_timeout=1):
        batch.fail(batch, "e" * 8000)
        failed |= batch
    assert failed == again
    letters: dict[str, Any] = {}
    dead = small_app.Data(DEAD, is_dead=True)
    while got := dead.get_data(items=1000):
        letters |= got
    assert letters.keys() == again.keys()

    echo = small_app.task(name="echo", vis_timeout=60, save_results=60)(lambda text: text)
    texts = [f"{n} {long}" for n in range(400)]
    with small_app.batch():
        handles = [echo.execute(text) for text in texts]
    with Counted(small_app) as work:
        assert [handle.wait(60, until="done") for handle in handles] == [True] * 400
        assert small_app.results(handle.taskid for handle in handles) == texts
    assert not work.ran


def test_a_result_that_is_too_large_fails_its_task_alone(small_app: Dibs) -> None:
    small = small_app.task(name="small", vis_timeout=60, save_results=60)(lambda: "x" * 500)
    large = small_app.task(name="large", vis_timeout=60, save_results=60)(lambda: "x" * 100_000)
    handles = [small.execute() for _ in range(20)]
    too_large = large.execute()
    with Counted(small_app):
        with pytest.raises(TaskFailed, match="takes no result of that size"):
            too_large.get(timeout=60)
        assert [len(handle.get(timeout=60)) for handle in handles] == [500] * 20
