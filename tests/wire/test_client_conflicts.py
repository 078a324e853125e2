"""Enqueueing under an id that is known: what becomes of what is there, and what the handle says."""

from __future__ import annotations

import asyncio

import pytest

from dibs import AlreadyExists, AsyncDibs, Dibs, State, Task
from dibs.broker.messages import enqueue
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.by_hand import fail, finish, take


@pytest.fixture
def add(app: Dibs) -> Task[[int], int]:
    @app.task(name="add", save_results=60, vis_timeout=30)
    def add(a: int) -> int:
        return a

    return add


@pytest.fixture
def mortal(app: Dibs) -> Task[[int], int]:
    @app.task(name="mortal", vis_timeout=30, use_dead=True)
    def mortal(a: int) -> int:
        return a

    return mortal


def one_of(app: Dibs) -> tpb.Delivery:
    """The one that waits, leased."""
    (delivery,) = take(app)
    return delivery


def waiting(app: Dibs) -> list[str]:
    """Arguments of what waits, in order; takes it."""
    return [delivery.content.payload.decode() for delivery in take(app, 100, wait=0)]


def call(number: int) -> str:
    return f'{{"args":[{number}],"kwargs":{{}}}}'


@pytest.mark.parametrize("delay", [0, 60])
def test_one_that_waits_gets_the_new_arguments(app: Dibs, add: Task[[int], int], delay: int) -> None:
    first = add.execute(1, taskid="mine", delay=delay)
    second = add.execute(2, taskid="mine")
    assert (first.created, second.created) == (True, True)
    assert waiting(app) == [call(2)]


def test_one_that_is_done_runs_again(app: Dibs, add: Task[[int], int]) -> None:
    add.execute(1, taskid="mine")
    finish(app, one_of(app), 1)
    handle = add.execute(2, taskid="mine")
    assert (handle.created, handle.result) == (True, None)
    finish(app, one_of(app), 2)
    assert handle.get(5) == 2


def test_one_that_is_dead_runs_again(app: Dibs, mortal: Task[[int], int]) -> None:
    handle = mortal.execute(1, taskid="mine")
    fail(app, one_of(app), "why")
    assert handle.state is State.DEAD
    assert mortal.execute(2, taskid="mine").created
    assert waiting(app) == [call(2)]
    assert app.Data("DEADLETTER_QUEUE", is_tasks=True).get_data() == {}


def test_one_that_runs_is_left_and_the_caller_is_told(app: Dibs, add: Task[[int], int]) -> None:
    add.execute(1, taskid="mine")
    take(app)
    with pytest.raises(AlreadyExists, match="mine is running") as caught:
        add.execute(2, taskid="mine")
    assert caught.value.reason == "RUNNING"
    assert app.handle("mine").args == ([1], {})


def test_a_call_of_a_task_by_name_does_the_same(app: Dibs) -> None:
    app.call_task("elsewhere", None, 1, taskid="mine")
    assert app.call_task("elsewhere", None, 2, taskid="mine").created
    assert waiting(app) == [call(2)]


def test_a_handle_of_an_id_alone_does_not_know(app: Dibs) -> None:
    assert app.handle("mine").created is None


def test_in_a_batch_handles_know_when_it_has_been_sent(app: Dibs, add: Task[[int], int]) -> None:
    add.execute(0, taskid="runs")
    take(app)
    add.execute(0, taskid="waits")
    keep = add.options(taskid="waits", on_conflict="keep")
    with pytest.raises(AlreadyExists, match="runs is running"), app.batch():  # noqa: PT012 - the batch raises
        handles = [
            add.execute(1),
            add.execute(2, taskid="runs"),
            keep.execute(3),
            add.execute(4, taskid="waits"),
            add.execute(5, taskid="waits"),
        ]
        assert [handle.created for handle in handles] == [None] * 5
    assert [handle.created for handle in handles] == [True, False, False, True, True]
    assert sorted(waiting(app)) == [call(1), call(5)]


def test_a_long_batch_tells_of_each(app: Dibs, add: Task[[int], int]) -> None:
    for n in range(0, 3000, 500):
        add.execute(n, taskid=f"i{n}")
    with app.batch():
        handles = [add.options(taskid=f"i{n}", on_conflict="keep").execute(n) for n in range(3000)]
    assert [n for n, handle in enumerate(handles) if not handle.created] == list(range(0, 3000, 500))


def test_asyncio_does_the_same(app: Dibs, add: Task[[int], int]) -> None:
    async def body() -> None:
        async with AsyncDibs(of=app) as adibs:
            moved = add.on(adibs)
            assert (await moved.execute(1, taskid="mine")).created
            assert (await moved.execute(2, taskid="mine")).created
            assert not (await moved.options(taskid="mine", on_conflict="keep").execute(3)).created
            async with adibs.batch():
                handle = await moved.execute(4, taskid="mine")
                assert handle.created is None
            assert handle.created
            await asyncio.to_thread(take, app)
            with pytest.raises(AlreadyExists, match="mine is running"):
                await moved.execute(5, taskid="mine")

    asyncio.run(body())
    assert app.handle("mine").args == ([4], {})


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes brokers of this process know no more than those of the version before."""
    known = {choice: conflict for choice, conflict in enqueue._CONFLICTS.items() if choice <= pb.ON_CONFLICT_FAIL}
    monkeypatch.setattr(enqueue, "_CONFLICTS", known)
    enqueue._known_terms.cache_clear()


@pytest.mark.usefixtures("earlier")
def test_a_broker_of_the_version_before_keeps_what_is_there(app: Dibs, add: Task[[int], int]) -> None:
    async def on_asyncio() -> list[bool | None]:
        async with AsyncDibs(of=app) as adibs:
            moved = add.on(adibs)
            return [(await moved.execute(9, taskid=id)).created for id in ("mine", "fourth")]

    assert add.execute(1, taskid="mine").created
    assert not add.execute(2, taskid="mine").created
    with app.batch():
        handles = [add.execute(n, taskid=id) for n, id in enumerate(("mine", "second", "third"), 3)]
        handles.append(add.execute(6))
    assert [handle.created for handle in handles] == [False, True, True, True]
    assert asyncio.run(on_asyncio()) == [False, True]
    assert waiting(app) == [call(n) for n in (1, 4, 5, 6, 9)]
