"""The middleware that comes with dibs, without libraries of others: context variables and deadlines."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any

import pytest

import dibs
from dibs.middleware import ContextVariables, DeadlinePassed, Deadlines, deadline
from dibs.testing import Eager, Recorded

request_id: ContextVar[str] = ContextVar("request_id", default="none")
user: ContextVar[dict[str, Any]] = ContextVar("user")


@pytest.fixture
def app() -> dibs.Dibs:
    return dibs.Dibs()


@pytest.fixture
def dibs_instances(app: dibs.Dibs) -> list[dibs.Dibs]:
    return [app]


def test_variables_are_where_the_task_runs_and_in_what_it_enqueues(app: dibs.Dibs, dibs_recorded: Recorded) -> None:
    app.use(ContextVariables(request_id, user))

    @app.task(name="inner", save_results=60)
    async def inner() -> list[Any]:
        return [request_id.get(), user.get()]

    @app.task(name="outer", save_results=60)
    def outer() -> Any:
        return inner.execute().get()

    tokens = request_id.set("r-1"), user.set({"id": 7, "name": "Ünal"})
    handle = outer.execute()
    request_id.reset(tokens[0])
    user.reset(tokens[1])
    dibs_recorded.run_all()
    assert handle.get() == ["r-1", {"id": 7, "name": "Ünal"}]
    assert request_id.get() == "none"


def test_a_variable_without_a_value_is_not_carried(app: dibs.Dibs, dibs_eager: Eager) -> None:
    app.use(ContextVariables(user))

    @app.task(name="work", save_results=60)
    def work() -> bool:
        return user.get({}) == {}

    assert work.execute().get() is True
    assert dibs_eager.calls[0].headers == {}


def test_a_value_that_is_no_json_is_told_where_the_call_is_made(app: dibs.Dibs, dibs_eager: Eager) -> None:
    app.use(ContextVariables(user))

    @app.task(name="work")
    def work() -> None: ...

    token = user.set({"x": object()})
    with pytest.raises(dibs.PayloadError, match="context variable user cannot be written as JSON"):
        work.execute()
    user.reset(token)


@pytest.mark.parametrize("wrong", [(), (request_id, request_id)])
def test_variables_are_named_once(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="name one variable or more"):
        ContextVariables(*wrong)


def test_a_deadline_limits_what_begins(
    app: dibs.Dibs, dibs_recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.use(Deadlines())
    ran = []

    @app.task(name="work", save_results=60, use_dead=True, attempts=3, vis_timeout=60)
    def work(mark: str) -> None:
        ran.append(mark)

    with deadline(30):
        in_time, late = work.execute("in time"), work.execute("late")
    without = work.execute("without")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 29)
    app.admin.delete_items([late.taskid])
    dibs_recorded.run_all()
    assert (ran, in_time.state) == (["in time", "without"], dibs.State.SUCCEEDED)
    with deadline(30):
        late = work.execute("late")
    monkeypatch.setattr(time, "time", lambda: real() + 60)
    dibs_recorded.run_all()
    assert (ran, late.state, without.state) == (["in time", "without"], dibs.State.DEAD, dibs.State.SUCCEEDED)
    [letter] = app.admin.dead_letters()
    assert "the deadline was 1." in letter.last_error


def test_a_deadline_goes_on_to_what_a_task_enqueues(app: dibs.Dibs, dibs_eager: Eager) -> None:
    app.use(Deadlines())

    @app.task(name="inner")
    def inner() -> None: ...

    @app.task(name="outer")
    def outer() -> None:
        with deadline(1_000):  # later than that of the request, which holds
            inner.execute()

    with deadline(30):
        outer.execute()
    first, second = (call.headers["deadline"] for call in dibs_eager.calls)
    assert first == second
    assert float(first) - time.time() < 30


def test_after_a_deadline_nothing_is_enqueued(app: dibs.Dibs, dibs_eager: Eager) -> None:
    app.use(Deadlines())

    @app.task(name="work")
    def work() -> None: ...

    with deadline(0), pytest.raises(DeadlinePassed, match="work is not enqueued"):
        work.execute()
    assert dibs_eager.calls == []
