"""Middleware: what goes around enqueueing and running, in which order, and what it may change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

import dibs
from dibs import Middleware, OutgoingCall, RunningTask
from dibs.tasks.options import NO_OPTIONS
from dibs.testing import Eager, call


@pytest.fixture
def app() -> dibs.Dibs:
    return dibs.Dibs()


@pytest.fixture
def dibs_instances(app: dibs.Dibs) -> list[dibs.Dibs]:
    return [app]


class Told(Middleware):
    """Says what it is around of."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    @contextmanager
    def enqueueing(self, call: OutgoingCall) -> Iterator[None]:
        self.log.append(f"{self.name} enqueues")
        yield
        self.log.append(f"{self.name} has enqueued")

    @contextmanager
    def running(self, task: RunningTask) -> Iterator[None]:
        self.log.append(f"{self.name} runs")
        try:
            yield
        finally:
            self.log.append(f"{self.name} has run")


class Tenant(Middleware):
    """Passes a name along."""

    def __init__(self) -> None:
        self.current = ""
        self.seen: list[str] = []

    def enqueueing(self, call: OutgoingCall) -> AbstractContextManager[object]:
        call.headers["tenant"] = self.current
        return super().enqueueing(call)

    def running(self, task: RunningTask) -> AbstractContextManager[object]:
        self.seen.append(task.headers["tenant"])
        return super().running(task)


class Doubled(Middleware):
    """Changes arguments and results, with both of each pair."""

    def enqueue(self, call: OutgoingCall, next: Any) -> Any:
        call.args = [2 * value for value in call.args]
        call.queue = "doubled"
        return next(call)

    async def enqueue_async(self, call: OutgoingCall, next: Any) -> Any:
        call.args = [2 * value for value in call.args]
        return await next(call)

    def run(self, task: RunningTask, next: Any) -> Any:
        return [next(task), next(task)]

    async def run_async(self, task: RunningTask, next: Any) -> Any:
        return [await next(task), await next(task)]


def test_the_first_is_outermost_and_those_of_the_task_are_inside(app: dibs.Dibs, dibs_eager: Eager) -> None:
    log: list[str] = []
    app.use(Told("a", log), Told("b", log))

    @app.task(name="work", middleware=[Told("c", log)])
    def work() -> None:
        log.append("work")

    work.execute()
    assert log == [
        *("a enqueues", "b enqueues", "c enqueues"),
        *("a runs", "b runs", "c runs", "work", "c has run", "b has run", "a has run"),
        *("c has enqueued", "b has enqueued", "a has enqueued"),
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_context_is_around_both_sorts_of_tasks(app: dibs.Dibs, dibs_eager: Eager, is_async: bool) -> None:
    log: list[str] = []
    app.use(Told("a", log))

    async def coroutine() -> None:
        log.append("begin")
        await asyncio.sleep(0)
        log.append("end")

    def plain() -> None:
        log.extend(["begin", "end"])

    app.task(name="work")(coroutine if is_async else plain).execute()
    assert log == ["a enqueues", "a runs", "begin", "end", "a has run", "a has enqueued"]


def test_headers_go_along(app: dibs.Dibs, dibs_eager: Eager) -> None:
    tenant = Tenant()
    app.use(tenant)

    @app.task(name="work", save_results=60)
    def work() -> dict[str, str]:
        task = dibs.CURRENT_TASK.task
        assert task is not None
        return dict(task.headers)

    tenant.current = "first"
    assert work.options(headers={"source": "web"}).execute().get() == {"source": "web", "tenant": "first"}
    assert tenant.seen == ["first"]


def test_headers_of_dibs_are_refused(app: dibs.Dibs, dibs_eager: Eager) -> None:
    class Bad(Middleware):
        def enqueueing(self, call: OutgoingCall) -> AbstractContextManager[object]:
            call.headers["dibs-codec"] = "x"
            return super().enqueueing(call)

    @app.task(name="work", middleware=[Bad()])
    def work() -> None: ...

    with pytest.raises(ValueError, match="dibs-codec"):
        work.execute()


def test_arguments_options_and_results_may_be_changed(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(name="echo", save_results=60, middleware=[Doubled()])
    def echo(value: int) -> int:
        return value

    handle: dibs.EnqueuedTask[Any] = echo.execute(2)
    assert (handle.get(), handle.queue) == ([4, 4], "doubled")
    assert dibs_eager.calls == [call(echo, 4)]


async def test_the_async_halves_are_for_asyncio(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(name="echo", save_results=60, middleware=[Doubled()])
    async def echo(value: int) -> int:
        return value

    handle: dibs.AsyncEnqueuedTask[Any] = await echo.on(dibs.AsyncDibs(of=app)).execute(3)
    assert await handle.get() == [6, 6]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_raised_around_a_run_is_what_the_task_raises(app: dibs.Dibs, dibs_eager: Eager, is_async: bool) -> None:
    class Closed(Middleware):
        def running(self, task: RunningTask) -> AbstractContextManager[object]:
            raise dibs.Reject("closed on Sundays")

    ran = []

    async def coroutine() -> None:
        ran.append(1)

    def plain() -> None:
        ran.append(1)

    decorator = app.task(name="work", save_results=60, attempts=3, vis_timeout=30, middleware=[Closed()])
    handle = decorator(coroutine if is_async else plain).execute()
    with pytest.raises(dibs.TaskFailed, match="closed on Sundays"):
        handle.get()
    assert ran == []


def test_what_a_task_raises_passes_all_layers(app: dibs.Dibs, dibs_eager: Eager) -> None:
    log: list[str] = []

    @app.task(name="work", save_results=60, middleware=[Told("a", log)])
    def work() -> None:
        raise ValueError("inside")

    with pytest.raises(dibs.TaskFailed, match="ValueError: inside"):
        work.execute().get()
    assert log == ["a enqueues", "a runs", "a has run", "a has enqueued"]


def test_what_is_raised_around_enqueueing_is_raised_by_execute(app: dibs.Dibs, dibs_eager: Eager) -> None:
    class Full(Middleware):
        def enqueueing(self, call: OutgoingCall) -> AbstractContextManager[object]:
            raise RuntimeError(f"no more of {call.task}")

    app.use(Full())

    @app.task(name="work")
    def work() -> None: ...

    with pytest.raises(RuntimeError, match="no more of work"):
        work.execute()
    with pytest.raises(RuntimeError, match="no more of work"):
        app.call_task("work", None)
    assert dibs_eager.calls == []


def test_a_further_attempt_is_no_other_call(app: dibs.Dibs, dibs_eager: Eager) -> None:
    tenant = Tenant()
    tenant.current = "first"

    @app.task(name="again", attempts=2, retry_delay=0, middleware=[tenant])
    def again() -> None:
        tenant.current = "second"
        again.retry()

    again.execute()
    dibs_eager.run_all()
    assert tenant.seen == ["first", "first"]


def test_plain_calls_have_nothing_around_them(app: dibs.Dibs) -> None:
    log: list[str] = []

    @app.task(name="work", middleware=[Told("a", log)])
    def work() -> int:
        return 1

    assert (work(), work.execute(execute_inline_now=True), log) == (1, 1, [])


def test_without_middleware_calls_and_tasks_are_as_they_were(app: dibs.Dibs) -> None:
    @app.task(name="work")
    def work() -> None: ...

    assert app.plain is NO_OPTIONS
    assert app.registry.runnable("work") is work
    app.use()
    assert app.registry.runnable("work") is work
    app.use(Middleware())
    assert app.plain is NO_OPTIONS
    assert app.registry.runnable("work") is work


def test_a_side_that_is_not_used_stays_as_it_was(app: dibs.Dibs) -> None:
    class Runs(Middleware):
        def running(self, task: RunningTask) -> AbstractContextManager[object]:
            return super().running(task)

    @app.task(name="work")
    def work() -> None: ...

    app.use(Runs())
    assert app.plain is NO_OPTIONS
    assert app.registry.runnable("work") is not work


class Half(Middleware):
    def run(self, task: RunningTask, next: Any) -> Any:
        return next(task)


class AsyncOnly(Middleware):
    async def run_async(self, task: RunningTask, next: Any) -> Any:
        return await next(task)


class WrongSort(Middleware):
    async def run(self, task: RunningTask, next: Any) -> Any:
        return next(task)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (object(), "object of a subclass"),
        (Tenant, r"write Tenant\(\)"),
        (Half(), "overrides run and not run_async"),
        (AsyncOnly(), "overrides run_async and not run"),
        (WrongSort(), "name the async one run_async"),
    ],
)
def test_what_would_be_left_out_is_refused(app: dibs.Dibs, wrong: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        app.use(wrong)
    with pytest.raises(TypeError, match=text):
        app.task(name="work", middleware=[wrong])


def test_calls_that_stand_in_an_outbox_have_it_around_them(app: dibs.Dibs) -> None:
    from dibs.contrib.outbox import Kept, StandIn
    from dibs.v1 import broker_pb2 as pb

    kept: list[pb.EnqueueItem] = []

    class Table(StandIn):
        def keep(self, call: Kept, queue: str) -> None:
            kept.extend(pb.EnqueueRequest.FromString(call.item).items)

    @app.task(name="work")
    def work() -> None: ...

    work.on(Table(app)).execute()
    tenant = Tenant()
    tenant.current = "first"
    app.use(tenant)
    work.on(Table(app)).execute()
    assert [dict(item.content.headers) for item in kept] == [{}, {"tenant": "first"}]
