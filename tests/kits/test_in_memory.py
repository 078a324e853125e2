"""What only the kits without a broker do: run here, on a clock of their own, and let nothing out."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import dibs
from dibs.codecs import Zlib
from dibs.testing import Eager, Recorded, bench, call, eager, recorded


@pytest.fixture
def app() -> dibs.Dibs:
    return dibs.Dibs()


@pytest.fixture
def dibs_instances(app: dibs.Dibs) -> list[dibs.Dibs]:
    return [app]


def test_plain_functions_run_in_the_thread_of_the_test(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(save_results=60, name="where")
    def where() -> int:
        return threading.get_ident()

    assert where.execute().get() == threading.get_ident()


def test_coroutine_functions_run_in_the_loop_of_who_awaits(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(save_results=60, name="where")
    async def where() -> int:
        return id(asyncio.get_running_loop())

    async def main() -> None:
        handle = await where.on(dibs.AsyncDibs(of=app)).execute()
        assert await handle.get() == id(asyncio.get_running_loop())

    asyncio.run(main())


def test_coroutine_functions_run_for_a_blocking_caller_inside_of_a_loop(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(save_results=60, name="add")
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    async def main() -> int:
        return add.execute(1, 2).get()

    assert asyncio.run(main()) == 3


def test_a_wait_takes_no_time_and_moves_the_clock(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(save_results=7200, name="add")
    def add(a: int, b: int) -> int:
        return a + b

    began = time.monotonic()
    assert add.options(delay=3600).execute(1, 2).get(timeout=3601) == 3
    with pytest.raises(dibs.TaskNotFinished):
        add.options(delay=3600).execute(1, 2).get(timeout=3500)
    assert time.monotonic() - began < 60


def test_recorded_runs_nothing_by_itself(app: dibs.Dibs, dibs_recorded: Recorded) -> None:
    ran = []

    @app.task(name="note")
    def note(number: int) -> None:
        ran.append(number)

    note.execute(1)
    note.options(delay=3600).execute(2)
    assert (ran, dibs_recorded.calls) == ([], [call(note, 1), call(note, 2)])
    assert (dibs_recorded.run_all(), ran) == (1, [1])
    dibs_recorded.advance(3600)
    assert ran == [1]
    assert (dibs_recorded.run_all(), ran) == (1, [1, 2])


def test_a_task_that_waits_for_another_has_it_run(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(save_results=60, name="child")
    def child() -> int:
        return 2

    @app.task(save_results=60, name="parent")
    def parent() -> int:
        return 2 * child.execute().get(timeout=10)

    assert parent.execute().get(timeout=10) == 4


def test_what_a_task_enqueues_runs_after_it(app: dibs.Dibs, dibs_eager: Eager) -> None:
    order = []

    @app.task(name="child")
    def child() -> None:
        order.append("child")

    @app.task(name="parent")
    def parent() -> None:
        child.execute()
        order.append("parent")

    parent.execute()
    assert order == ["parent", "child"]


def test_an_item_that_waits_for_itself_is_not_finished(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(save_results=60, name="stuck")
    def stuck() -> str:
        running = dibs.CURRENT_TASK.task
        assert running is not None
        return str(app.handle(running.taskid).wait(5, until="done"))

    assert stuck.execute().get() == "False"


def test_a_task_that_is_cancelled_while_it_runs_is_told(app: dibs.Dibs, dibs_eager: Eager) -> None:
    seen: list[object] = []

    @app.task(save_results=60, vis_timeout=60, name="suicidal")
    def suicidal() -> None:
        running = dibs.CURRENT_TASK.task
        assert running is not None
        seen.append(app.handle(running.taskid).cancel())
        seen.append(running.cancelled)

    handle = suicidal.execute()
    assert seen == [dibs.Cancelled.TOLD, True]
    assert handle.state is dibs.State.CANCELLED


def test_threads_wait_for_each_other(app: dibs.Dibs, dibs_eager: Eager) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task(save_results=60, name="slow")
    def slow() -> int:
        begun.set()
        assert go.wait(20)
        return 7

    other = threading.Thread(target=lambda: slow.options(taskid="slow").execute())
    other.start()
    assert begun.wait(20)
    threading.Timer(0.1, go.set).start()
    assert app.handle("slow").get(timeout=1000) == 7
    other.join()


def test_a_wait_that_nothing_would_end_says_so(app: dibs.Dibs, dibs_recorded: Recorded) -> None:
    @app.task(name="never")
    def never() -> None:
        raise AssertionError

    with pytest.raises(dibs.FailedPrecondition, match="would end this wait"):
        never.execute().get(timeout=None)


def test_tasks_without_an_end_are_stopped(app: dibs.Dibs, dibs_eager: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MOST_RUNS", 10)

    @app.task(name="again")
    def again() -> None:
        again.execute()

    with pytest.raises(dibs.DibsError, match="is there an end to it"):
        again.execute()


def test_an_interrupt_is_for_the_test(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(name="interrupted")
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.execute()


def test_schedules_follow_the_clock(app: dibs.Dibs, dibs_eager: Eager) -> None:
    ran = []

    @app.periodic_task(60, name="minutely")
    def minutely() -> None:
        ran.append("minute")

    @app.cron_task("0 * * * *", name="hourly")
    def hourly() -> None:
        ran.append("hour")

    dibs_eager.advance(3600)
    assert ran.count("minute") == 60
    assert ran.count("hour") == 1


def test_other_instances_reach_no_broker(dibs_eager: Eager) -> None:
    other = dibs.Dibs("127.0.0.1:1")

    @other.task(name="out")
    def out() -> None: ...

    with pytest.raises(dibs.DibsError, match="dibs_instances"):
        out.execute()
    with pytest.raises(dibs.DibsError, match="dibs_instances"):
        asyncio.run(other_call(other))


async def other_call(other: dibs.Dibs) -> None:
    await dibs.AsyncDibs(of=other).known_queues()


def test_what_is_not_there_says_what_to_use(app: dibs.Dibs, dibs_eager: Eager) -> None:
    with pytest.raises(dibs.BrokerError, match="dibs_broker or dibs_worker"):
        app.flush_tasks()


def test_too_large_a_payload_is_refused(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(name="take")
    def take(text: str) -> None: ...

    with pytest.raises(dibs.InvalidArgument) as caught:
        take.execute("x" * 300_000)
    assert caught.value.field == "items[0].content.payload"


def test_data_that_is_not_done_in_time_comes_again(app: dibs.Dibs, dibs_eager: Eager) -> None:
    data = app.Data("numbers", attempts=2, vis_timeout=30)
    data.put_data([1])
    assert list(data.get_data(1).values()) == [1]
    assert data.get_data(1) == {}
    dibs_eager.advance(31)
    [id] = data.get_data(1)
    assert data.done_data([id])


def test_priorities_are_kept(app: dibs.Dibs, dibs_recorded: Recorded) -> None:
    order = []

    @app.task(name="note")
    def note(name: str) -> None:
        order.append(name)

    app.set_priority("high", 1)
    note.options(queue="low").execute("low")
    note.options(queue="high").execute("high")
    dibs_recorded.run_all()
    assert order == ["high", "low"]


def test_instances_are_as_they_were_afterwards(app: dibs.Dibs) -> None:
    app.connect("127.0.0.1:1", namespace="mine")
    with eager(app):
        assert app.namespace == "mine"
    assert (app.connection.target, app.namespace) == ("127.0.0.1:1", "mine")


def test_two_instances_run_each_others_tasks() -> None:
    one, two = dibs.Dibs(namespace="one"), dibs.Dibs(namespace="two")

    @two.task(save_results=60, name="second")
    def second() -> str:
        return two.namespace

    @one.task(save_results=60, name="first")
    def first() -> str:
        return one.namespace + second.execute().get()

    with recorded(one, two) as kit:
        handle = first.execute()
        kit.run_all()
        assert handle.get() == "onetwo"


def test_codecs_are_used() -> None:
    sealed = dibs.Dibs(codec=Zlib())

    @sealed.task(save_results=60, name="echo")
    def echo(text: str) -> str:
        return text

    with recorded(sealed) as kit:
        handle = echo.execute("x" * 5000)
        kit.run_all()
        assert handle.get() == "x" * 5000
        assert kit.calls == [call(echo, "x" * 5000)]


def test_time_limits_hold_for_both_sorts(app: dibs.Dibs, dibs_eager: Eager) -> None:
    @app.task(name="plain", save_results=60, time_limit=0.05)
    def plain() -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            time.sleep(0.001)

    @app.task(name="coroutine", save_results=60, time_limit=0.05)
    async def coroutine() -> None:
        await asyncio.sleep(20)

    for handle in (plain.execute(), coroutine.execute()):
        with pytest.raises(dibs.TaskFailed, match="TimeLimitExceeded"):
            handle.get()
