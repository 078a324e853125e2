"""What code under test may rely on, the same under all four kits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

import dibs
from dibs.testing import Eager, OnBroker, Recorded, WithWorker, call

from .app import (
    SOON_S,
    add,
    add_async,
    app,
    asks_again,
    backing_off,
    doomed,
    echo,
    fail,
    forget,
    journal,
    parent,
    short_lived,
    third_time,
    unspeakable,
    who,
)

Kit = Eager | Recorded | OnBroker | WithWorker


@pytest.fixture
def dibs_instances() -> Sequence[dibs.Dibs]:
    return [app]


@pytest.fixture(params=["eager", "recorded", "broker", "worker"])
def kit(request: pytest.FixtureRequest) -> Kit:
    journal.clear()
    found: Kit = request.getfixturevalue(f"dibs_{request.param}")
    return found


def ran(name: str) -> list[tuple[object, ...]]:
    return [entry[1:] for entry in journal if entry[0] == name]


def later(kit: Kit, seconds: float) -> None:
    """So much later, with everything run that is due by then."""
    kit.run_all()
    kit.advance(seconds)
    kit.run_all()


def test_a_result_comes_back(kit: Kit) -> None:
    handle = add.execute(2, 3)
    kit.run_all()
    assert handle.get(timeout=5) == 5


def test_a_coroutine_function_runs(kit: Kit) -> None:
    handle = add_async.execute(2, 3)
    kit.run_all()
    assert handle.get(timeout=5) == 5


def test_calls_are_told_in_order(kit: Kit) -> None:
    add.execute(1, 2)
    add.execute(3, b=4)
    assert kit.calls == [call(add, 1, 2), call(add, 3, b=4)]
    assert kit.calls[0].queue == "default"


def test_arguments_and_results_go_through_json(kit: Kit) -> None:
    handle = echo.execute((1, 2), nested={"a": (3,)})
    kit.run_all()
    assert handle.get(timeout=5) == [[[1, 2]], {"nested": {"a": [3]}}]
    assert kit.calls == [call(echo, (1, 2), nested={"a": (3,)})]


def test_arguments_that_are_no_json_are_refused_at_once(kit: Kit) -> None:
    with pytest.raises(dibs.PayloadError):
        echo.execute(object())
    assert kit.calls == []


def test_what_is_done_has_succeeded(kit: Kit) -> None:
    handle = add.execute(2, 3)
    kit.run_all()
    assert handle.wait(5, until="done")
    assert handle.state is dibs.State.SUCCEEDED


def test_what_raises_has_failed_with_its_traceback(kit: Kit) -> None:
    handle = fail.execute("out of order")
    kit.run_all()
    with pytest.raises(dibs.TaskFailed, match="ValueError: out of order"):
        handle.get(timeout=5)
    assert handle.state is dibs.State.FAILED


def test_a_result_that_is_no_json_is_a_failure(kit: Kit) -> None:
    handle = unspeakable.execute()
    kit.run_all()
    with pytest.raises(dibs.TaskFailed, match="result of task"):
        handle.get(timeout=5)


def test_without_save_results_nothing_is_kept(kit: Kit) -> None:
    handle = forget.execute("x")
    kit.run_all()
    assert ran("forget") == [("x",)]
    assert handle.state is dibs.State.UNKNOWN
    with pytest.raises(dibs.ResultUnavailable):
        handle.get(timeout=5)


def test_a_task_without_a_lease_is_delivered_once(kit: Kit) -> None:
    fail.options(attempts=5).execute("once")
    later(kit, SOON_S)
    assert ran("fail") == [("once",)]


def test_a_delayed_call_runs_when_its_time_comes(kit: Kit) -> None:
    handle = add.options(delay=SOON_S).execute(1, 1)
    kit.run_all()
    assert (handle.state, ran("add")) == (dibs.State.SCHEDULED, [])
    later(kit, 1.1 * SOON_S)
    assert ran("add") == [(1, 1)]
    assert kit.calls[0].delay == timedelta(seconds=SOON_S)


def test_a_call_for_a_time_runs_then(kit: Kit) -> None:
    add.options(at=datetime.now(UTC) + timedelta(seconds=SOON_S)).execute(2, 2)
    kit.run_all()
    assert ran("add") == []
    later(kit, 1.1 * SOON_S)
    assert ran("add") == [(2, 2)]


def test_a_call_for_a_time_that_is_past_runs_at_once(kit: Kit) -> None:
    add.options(at=datetime(2020, 1, 1, tzinfo=UTC)).execute(2, 2)
    kit.run_all()
    assert ran("add") == [(2, 2)]


def test_a_failed_attempt_is_followed_by_the_next_after_its_delay(kit: Kit) -> None:
    handle = third_time.execute(2)
    kit.run_all()
    assert [entry[0] for entry in ran("third_time")] == [1]
    later(kit, 1.1 * SOON_S)
    assert handle.get(timeout=5) == 2
    assert ran("third_time") == [(1, 3, False), (2, 3, True)]


def test_attempts_are_used_up(kit: Kit) -> None:
    handle = third_time.execute(9)
    for _ in range(4):
        later(kit, 1.1 * SOON_S)
    assert [entry[0] for entry in ran("third_time")] == [1, 2, 3]
    with pytest.raises(dibs.TaskFailed, match="not at attempt 3"):
        handle.get(timeout=5)


def test_waits_between_attempts_may_grow(kit: Kit) -> None:
    backing_off.execute()
    kit.run_all()
    assert ran("backing_off") == [(1,)]
    later(kit, 1.1 * SOON_S)
    assert ran("backing_off") == [(1,), (2,)]


def test_what_is_used_up_becomes_a_dead_letter(kit: Kit) -> None:
    handle = doomed.execute("the end")
    kit.run_all()
    assert ran("doomed") == [(1,), (2,)]
    assert handle.state is dibs.State.DEAD
    [letter] = app.admin.dead_letters()
    assert letter.id == handle.taskid
    assert "ValueError: the end" in letter.last_error


def test_a_dead_letter_that_is_sent_back_runs_again(kit: Kit) -> None:
    doomed.execute("again")
    kit.run_all()
    app.admin.redrive_dead_letters(None)
    kit.run_all()
    assert ran("doomed") == [(1,), (2,), (1,), (2,)]


def test_a_task_asks_for_another_attempt_under_its_id(kit: Kit) -> None:
    handle = asks_again.execute()
    kit.run_all()
    kit.run_all()
    assert handle.get(timeout=5) == "done at 2"
    assert ran("asks_again") == [(handle.taskid, 1), (handle.taskid, 2)]
    assert len(kit.calls) == 1


def test_what_waits_is_cancelled_and_never_runs(kit: Kit) -> None:
    handle = add.options(delay=SOON_S).execute(1, 1)
    assert handle.cancel() is dibs.Cancelled.NEVER_RUNS
    later(kit, 1.1 * SOON_S)
    assert (ran("add"), handle.state) == ([], dibs.State.CANCELLED)


def test_an_id_that_is_kept(kit: Kit) -> None:
    first = add.options(taskid="one", delay=SOON_S).execute(1, 1)
    second = add.options(taskid="one", on_conflict="keep").execute(2, 2)
    assert (first.created, second.created) == (True, False)
    later(kit, 1.1 * SOON_S)
    assert ran("add") == [(1, 1)]


def test_an_id_that_is_replaced(kit: Kit) -> None:
    add.options(taskid="two", delay=SOON_S).execute(1, 1)
    add.options(taskid="two").execute(2, 2)
    later(kit, 1.1 * SOON_S)
    assert ran("add") == [(2, 2)]


def test_an_id_that_may_not_be_there(kit: Kit) -> None:
    add.options(taskid="three", delay=SOON_S).execute(1, 1)
    with pytest.raises(dibs.AlreadyExists):
        add.options(taskid="three", on_conflict="fail").execute(2, 2)


def test_a_task_knows_its_name_its_queue_and_its_headers(kit: Kit) -> None:
    handle = who.options(queue="elsewhere", headers={"tenant": "a"}).execute()
    kit.run_all()
    assert handle.get(timeout=5) == [who.name, "elsewhere", {"tenant": "a"}]
    assert kit.calls[0].headers == {"tenant": "a"}


def test_what_a_task_enqueues_runs_too(kit: Kit) -> None:
    handle = parent.execute(3)
    kit.run_all()
    assert handle.get(timeout=5) == "parent"
    assert ran("add") == [(0, 1), (1, 1), (2, 1)]
    assert kit.calls == [call(parent, 3), *(call(add, number, 1) for number in range(3))]


def test_a_batch(kit: Kit) -> None:
    with app.batch():
        handles = [add.execute(number, number) for number in range(50)]
    kit.run_all()
    assert app.results(handle.taskid for handle in handles) == [2 * number for number in range(50)]
    assert len(kit.calls) == 50


def test_a_call_by_name(kit: Kit) -> None:
    handle = app.call_task(add.name, None, 4, 5)
    kit.run_all()
    assert handle.get(timeout=5) == 9


def test_a_task_that_nobody_knows_waits(kit: Kit) -> None:
    handle = app.call_task("nobody.knows", "default")
    kit.run_all()
    assert handle.state is dibs.State.WAITING
    assert handle.args == ([], {})


def test_a_result_is_forgotten_in_time(kit: Kit) -> None:
    handle = short_lived.execute()
    kit.run_all()
    later(kit, 2 * SOON_S)
    assert handle.state is dibs.State.UNKNOWN


def test_what_waits_is_counted_and_cleared(kit: Kit) -> None:
    add.options(delay=60).execute(1, 1)
    assert app.queue_sizes() == [("default", 1, 1)]
    assert app.clear_queue("default") == 1
    assert app.queue_sizes() == [("default", 0, 1)]


def test_a_lock_is_held_by_one(kit: Kit) -> None:
    with app.lock("report", 60), pytest.raises(dibs.NoLock), app.lock("report", 60):
        pass
    with app.lock("report", 60):
        pass


def test_data_is_put_and_taken(kit: Kit) -> None:
    data = app.Data("numbers")
    data.put_data([1, 2, 3])
    assert [value for _, value in data.get_data(3).items()] == [1, 2, 3]


@pytest.fixture(params=["eager", "recorded", "worker"])
def kit_with_schedules(request: pytest.FixtureRequest) -> Kit:
    """A broker without a worker runs no schedules."""
    journal.clear()
    found: Kit = request.getfixturevalue(f"dibs_{request.param}")
    return found


def test_a_schedule_runs_again_and_again(kit_with_schedules: Kit) -> None:
    for _ in range(4):
        later(kit_with_schedules, 1.1 * SOON_S)
    assert len(ran("ticks")) >= 3
    assert kit_with_schedules.calls == []
