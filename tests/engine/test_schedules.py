"""What the scripts of schedules promise, step by step, on a clock that stands still."""

from __future__ import annotations

import asyncio

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import OutOfMemory
from dibs.broker.engine.schedules import Look, NewSchedule, ScheduleState, StartedRun, StoredSchedule, run_stem
from dibs.broker.engine.types import Kind, LeaseQuery, NackReason, Spec, State, decode_record
from dibs.broker.engine.workers import ANY_TASK, LIFETIME_US, NO_TASK, WorkerReport, skill_set

from .conftest import MakeEngine
from .helpers import HOUR_US, KEPT, LEASED, NS, ONCE, PREFIX, SECOND_US, Clock, ack, lease, lease_one, nack, state_of

SPECS = [ONCE, ONCE._replace(keep_us=HOUR_US), LEASED, KEPT]


@pytest.fixture
async def second(make_engine: MakeEngine, still: Engine) -> Engine:
    """A second engine whose time is `clock`, as another broker has it."""
    engine = await make_engine(clock="clock_shifted", poll_interval_s=1e6)
    await engine._timers.close()
    return engine


def schedule(name: str = "s", due_us: int = 0, spec: Spec = LEASED, definition: bytes = b"d\n") -> NewSchedule:
    return NewSchedule(name, spec.encode(), "task", definition, b"\n\0body", due_us)


async def put(engine: Engine, *schedules: NewSchedule, group: str = "g", replace: bool = False) -> list[str]:
    return await engine.schedules.put(NS, group, schedules, replace_group=replace)


async def worker(engine: Engine, task: str | None = "task") -> None:
    """Connects a worker that knows a task, or any."""
    skills = ANY_TASK if task is None else skill_set([task])
    await engine.workers.report(NS, [WorkerReport("w 1", skills, b"")], tasks={skills: [task or ""]})


async def info(engine: Engine, name: str = "s") -> StoredSchedule:
    found, _ = await engine.schedules.page(NS, 1000, 10**6)
    (one,) = (stored for stored in found if stored.name == name)
    return one


async def pending(engine: Engine, clock: Clock, spec: Spec = LEASED, name: str = "s") -> str:
    """Makes a schedule whose run is pending; answers the run's id."""
    await worker(engine)
    await put(engine, schedule(name, clock.now_us, spec))
    assert list((await look(engine)).pending.values()) == [name]
    return (await info(engine, name)).run_id


async def started(engine: Engine, clock: Clock, spec: Spec = LEASED) -> StartedRun:
    """Makes a schedule whose run has started a second after its due time."""
    await pending(engine, clock, spec)
    clock.passes(SECOND_US)
    await lease_one(engine)
    (run,) = (await look(engine, "s")).started
    return run


async def look(engine: Engine, *names: str) -> Look:
    return await engine.schedules.look(NS, names)


async def test_a_schedule_waits_for_its_due_time_and_fires_once(still: Engine, clock: Clock) -> None:
    await worker(still)
    await put(still, schedule(due_us=clock.now_us + SECOND_US))
    assert await look(still) == Look({}, [])
    clock.passes(SECOND_US - 1)
    assert await look(still, "s") == Look({}, [])
    assert (await info(still)).state is ScheduleState.PLANNED
    clock.passes(1)
    assert await look(still) == Look({"schedule:s": "s"}, [])
    assert await look(still) == Look({}, [])
    stored = await info(still)
    assert stored == StoredSchedule(
        "s", "g", LEASED, "task", b"d\n", b"\n\0body", ScheduleState.PENDING, clock.now_us, clock.now_us, 0, 1
    )
    (item,) = await lease(still)
    assert item.id == stored.run_id == f"schedule:s:{clock.now_us}"
    assert decode_record(item.record)[1:] == (clock.now_us, LEASED, b"\n\0body")


async def test_a_run_is_enqueued_as_enqueue_would(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    reply = await still.lease(NS, LeaseQuery(Kind.TASK), 1, note_hunger=True)
    assert reply.drained
    assert raw.exists(PREFIX + "hungry:t")
    id = await pending(still, clock)
    assert await state_of(still, id) is State.WAITING
    assert raw.hget(PREFIX + "seen:t", "q") == b"1"
    assert raw.zscore(PREFIX + "ready:t", "q") is not None
    # Whoever was hungry has been woken.
    assert not raw.exists(PREFIX + "hungry:t")


async def test_a_schedule_whose_task_no_worker_knows_waits_and_says_so(still: Engine, clock: Clock) -> None:
    due_us = clock.now_us
    await worker(still, "other")
    await put(still, schedule(due_us=due_us))
    assert await look(still) == Look({}, [])
    assert (await info(still)).state is ScheduleState.NO_WORKER
    clock.passes(SECOND_US)
    await worker(still)
    assert await look(still) == Look({}, [])
    assert (await still.schedules.look(NS, workers_came=True)).pending == {"schedule:s": "s"}
    assert (await info(still)).run_id == f"schedule:s:{due_us}"


async def test_the_slow_look_finds_workers_that_no_hint_told_of(still: Engine, clock: Clock) -> None:
    await put(still, schedule(due_us=clock.now_us))
    await look(still)
    await worker(still, None)
    clock.passes(5 * SECOND_US)
    assert (await look(still)).pending == {"schedule:s": "s"}


async def test_workers_that_are_gone_or_run_no_tasks_do_not_count(still: Engine, clock: Clock) -> None:
    await worker(still)
    await still.workers.report(NS, [WorkerReport("consumer 1", NO_TASK, b"")])
    clock.passes(LIFETIME_US)
    await put(still, schedule(due_us=clock.now_us))
    assert await look(still) == Look({}, [])
    assert (await info(still)).state is ScheduleState.NO_WORKER


@pytest.mark.parametrize("spec", SPECS)
async def test_the_start_of_a_run_is_noticed_and_the_next_is_planned(
    still: Engine, second: Engine, clock: Clock, spec: Spec
) -> None:
    due_us = clock.now_us
    run = await started(still, clock, spec)
    assert run == StartedRun("s", b"d\n", due_us, clock.now_us)
    await second.schedules.plan(NS, [(run, due_us + 5 * SECOND_US)])
    stored = await info(still)
    assert (stored.state, stored.due_us) == (ScheduleState.PLANNED, due_us + 5 * SECOND_US)
    assert (stored.run_due_us, stored.start_us, stored.runs) == (due_us, clock.now_us, 1)
    clock.passes(4 * SECOND_US)
    assert (await look(second)).pending == {"schedule:s": "s"}
    assert (await info(still)).runs == 2


@pytest.mark.parametrize("spec", SPECS)
async def test_a_run_that_is_cancelled_or_deleted_holds_nothing_up(still: Engine, clock: Clock, spec: Spec) -> None:
    id = await pending(still, clock, spec)
    await still.cancel(NS, [id])
    assert len((await look(still, "s")).started) == 1


async def test_a_run_that_waits_for_its_second_attempt_has_started(still: Engine, clock: Clock) -> None:
    await pending(still, clock)
    await nack(still, await lease_one(still), NackReason.FAILED, HOUR_US)
    assert len((await look(still, "s")).started) == 1


async def test_a_run_that_was_handed_back_before_anybody_looked_is_still_pending(still: Engine, clock: Clock) -> None:
    await pending(still, clock)
    await nack(still, await lease_one(still), NackReason.RELEASED)
    assert await look(still, "s") == Look({"schedule:s": "s"}, [])


async def test_a_run_that_is_handed_back_later_stays_the_only_one(still: Engine, clock: Clock) -> None:
    due_us = clock.now_us
    await pending(still, clock)
    item = await lease_one(still)
    (run,) = (await look(still, "s")).started
    await still.schedules.plan(NS, [(run, due_us + SECOND_US)])
    await nack(still, item, NackReason.RELEASED)
    clock.passes(SECOND_US)
    assert await look(still) == Look({"schedule:s": "s"}, [])
    stored = await info(still)
    assert (stored.state, stored.due_us, stored.runs) == (ScheduleState.PENDING, due_us, 1)
    assert [item.id for item in await lease(still)] == [f"schedule:s:{due_us}"]
    # So the time that was held back can be planned again.
    assert (await look(still, "s")).started == [StartedRun("s", b"d\n", due_us, clock.now_us)]


async def test_a_run_that_nobody_watches_any_more_is_found_by_the_slow_look(still: Engine, clock: Clock) -> None:
    await pending(still, clock)
    await lease_one(still)
    clock.passes(5 * SECOND_US)
    assert len((await look(still)).started) == 1


async def test_the_start_of_a_run_is_published(still: Engine, other: Engine, clock: Clock) -> None:
    told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    with other.hints.on_run(lambda namespace, id: told.put_nowait((namespace, id))):
        await asyncio.wait_for(other.hints.subscribed.wait(), 10)
        id = await pending(still, clock)
        await lease_one(still)
        assert await asyncio.wait_for(told.get(), 10) == (NS, id)
    assert told.empty()


async def test_what_a_broker_that_died_did_not_plan_is_planned_by_another(
    still: Engine, second: Engine, clock: Clock
) -> None:
    run = await started(still, clock)
    clock.passes(2 * SECOND_US)
    # The start is when it was noticed, whoever plans.
    assert (await look(second)).started == [run]


async def test_of_two_plans_the_first_stands(still: Engine, second: Engine, clock: Clock) -> None:
    run = await started(still, clock)
    await second.schedules.plan(NS, [(run, clock.now_us + 1)])
    await still.schedules.plan(NS, [(run, clock.now_us + 2)])
    assert (await info(still)).due_us == clock.now_us + 1


async def test_a_late_plan_does_not_touch_a_later_run(still: Engine, second: Engine, clock: Clock) -> None:
    run = await started(still, clock)
    await second.schedules.plan(NS, [(run, clock.now_us)])
    await look(second)
    await lease_one(second)
    (later,) = (await look(second, "s")).started
    await still.schedules.plan(NS, [(run, clock.now_us + HOUR_US)])
    assert (await info(still)).state is ScheduleState.STARTED
    await second.schedules.plan(NS, [(later, clock.now_us + 1)])
    assert (await info(still)).due_us == clock.now_us + 1


async def test_any_number_of_looks_at_once_enqueue_one_run(
    still: Engine, second: Engine, clock: Clock, raw: redis.Redis
) -> None:
    await worker(still)
    for n in range(50):
        await put(still, schedule(f"s{n}", clock.now_us))
        await asyncio.gather(*(look(engine, f"s{n}") for engine in (still, second) * 5))
    assert raw.hlen(PREFIX + "item") == raw.llen(PREFIX + "queue:t:q") == 50


async def test_more_than_one_look_handles_are_due_at_once(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await worker(still)
    await put(still, *(schedule(f"s{n}", clock.now_us) for n in range(1000)))
    for _ in range(10):
        await look(still)
    assert raw.llen(PREFIX + "queue:t:q") == 1000


async def test_a_time_that_was_run_before_is_not_run_again(still: Engine, clock: Clock) -> None:
    due_us = clock.now_us
    await pending(still, clock, KEPT)
    await ack(still, await lease_one(still), b"1")
    await still.schedules.delete(NS, ["s"])
    await put(still, schedule(due_us=due_us, spec=KEPT))
    await look(still)
    assert await lease(still) == []
    assert len((await look(still, "s")).started) == 1


async def test_an_unchanged_schedule_keeps_its_plan_and_its_run(still: Engine, clock: Clock) -> None:
    id = await pending(still, clock)
    await put(still, schedule(due_us=clock.now_us + HOUR_US))
    assert (await info(still)).state is ScheduleState.PENDING
    assert await state_of(still, id) is State.WAITING


@pytest.mark.parametrize(
    "changed",
    [
        schedule(spec=KEPT),
        schedule()._replace(task="other"),
        schedule(definition=b"e"),
        schedule()._replace(body=b"other"),
    ],
    ids=["spec", "task", "definition", "body"],
)
async def test_a_changed_schedule_is_planned_anew_and_its_unstarted_run_removed(
    still: Engine, clock: Clock, changed: NewSchedule
) -> None:
    id = await pending(still, clock)
    await put(still, changed._replace(due_us=clock.now_us + HOUR_US))
    stored = await info(still)
    assert (stored.state, stored.due_us, stored.runs) == (ScheduleState.PLANNED, clock.now_us + HOUR_US, 1)
    assert await state_of(still, id) is State.UNKNOWN
    assert await lease(still) == []


async def test_a_changed_schedule_leaves_a_run_that_has_started_alone(still: Engine, clock: Clock) -> None:
    await pending(still, clock)
    item = await lease_one(still)
    await put(still, schedule(definition=b"e", due_us=clock.now_us + HOUR_US))
    assert await state_of(still, item.id) is State.STARTED
    await still.schedules.delete(NS, ["s"])
    assert await state_of(still, item.id) is State.STARTED


async def test_what_is_no_longer_in_its_group_is_removed_with_its_run(
    still: Engine, clock: Clock, raw: redis.Redis
) -> None:
    id = await pending(still, clock, KEPT, name="old")
    await put(still, schedule("elsewhere", HOUR_US), group="h")
    await put(still, schedule("kept", clock.now_us + HOUR_US))
    assert await put(still, schedule("kept", clock.now_us), schedule("new", HOUR_US)) == []
    assert sorted(await put(still, schedule("kept", clock.now_us), replace=True)) == ["new", "old"]
    found, _ = await still.schedules.page(NS, 1000, 10**6)
    assert [one.name for one in found] == ["elsewhere", "kept"]
    assert found[1].due_us == clock.now_us + HOUR_US
    assert await state_of(still, id) is State.CANCELLED
    assert await put(still, replace=True) == ["kept"]
    assert await put(still, group="h", replace=True) == ["elsewhere"]
    keys = ("schedule", "plan", "schedules", "timetable", "stranded", "group:g", "group:h")
    assert [key for key in keys if raw.exists(PREFIX + key)] == []


async def test_a_schedule_belongs_to_the_group_that_put_it_last(still: Engine, clock: Clock) -> None:
    due_us = clock.now_us + SECOND_US
    await put(still, schedule(due_us=due_us))
    await put(still, schedule(due_us=due_us + 1), group="h")
    assert await put(still, replace=True) == []
    assert ((await info(still)).group, (await info(still)).due_us) == ("h", due_us)


async def test_a_group_of_thousands_is_replaced_in_several_steps(still: Engine) -> None:
    for at in range(0, 2500, 500):
        await put(still, *(schedule(f"s{n}", HOUR_US) for n in range(at, at + 500)))
    removed = await put(still, schedule("s7", HOUR_US), replace=True)
    assert len(removed) == len(set(removed)) == 2499
    found, _ = await still.schedules.page(NS, 10, 10**6)
    assert [one.name for one in found] == ["s7"]


async def test_while_memory_is_full_nothing_fires_and_what_is_not_wanted_can_be_removed(
    still: Engine, clock: Clock, raw: redis.Redis
) -> None:
    await worker(still)
    await put(still, schedule("a", clock.now_us), schedule("b", clock.now_us))
    raw.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemory):
        await look(still)
    assert await still.schedules.delete(NS, ["a"]) == [True]
    raw.config_set("maxmemory", 0)
    assert (await look(still)).pending == {"schedule:b": "b"}


async def test_an_entry_of_the_timetable_that_is_wrong_is_corrected(
    still: Engine, clock: Clock, raw: redis.Redis
) -> None:
    due_us = clock.now_us + SECOND_US
    await put(still, schedule(due_us=due_us))
    raw.zadd(PREFIX + "timetable", {"s": 1, "unknown": 1})
    assert await look(still) == Look({}, [])
    assert raw.zrange(PREFIX + "timetable", 0, -1, withscores=True) == [(b"s", float(due_us))]


async def test_deleting_says_what_was_there(still: Engine, clock: Clock) -> None:
    id = await pending(still, clock)
    assert await still.schedules.delete(NS, ["x", "s", "s"]) == [False, True, False]
    assert await state_of(still, id) is State.UNKNOWN
    assert await look(still) == Look({}, [])


async def test_a_schedule_that_lacks_a_worker_can_be_deleted(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await put(still, schedule(due_us=clock.now_us))
    await look(still)
    await still.schedules.delete(NS, ["s"])
    assert not raw.exists(PREFIX + "stranded")
    assert await still.schedules.look(NS, ["s"], workers_came=True) == Look({}, [])


async def test_pages_are_by_name_and_no_larger_than_asked_for(still: Engine) -> None:
    names = sorted(f"s {n}\u00e9" for n in range(25))
    await put(still, *(schedule(name, HOUR_US)._replace(body=bytes(1000)) for name in names))
    found, last = [], ""
    while True:
        page, last = await still.schedules.page(NS, 10, 5 * 1000, last)
        assert 1 <= len(page) <= 5
        found += [one.name for one in page]
        if not last:
            break
    assert found == names
    assert len((await still.schedules.page(NS, 10, 1))[0]) == 1
    assert len((await still.schedules.page(NS, 10, 10**6))[0]) == 10


async def test_firing_all_makes_due_what_is_planned(still: Engine, clock: Clock) -> None:
    now_us = clock.now_us
    await pending(still, clock, name="pending")
    await put(still, schedule("planned", now_us + HOUR_US), schedule("late", now_us - SECOND_US))
    await still.schedules.fire_all(NS)
    await look(still)
    stored = {one.name: (one.state, one.due_us) for one in (await still.schedules.page(NS, 10, 10**6))[0]}
    assert stored == {
        "late": (ScheduleState.PENDING, now_us - SECOND_US),
        "pending": (ScheduleState.PENDING, now_us),
        "planned": (ScheduleState.PENDING, now_us),
    }
    assert len(await lease(still)) == 3


async def test_what_is_next_is_told(still: Engine, clock: Clock) -> None:
    told = []
    still.schedules.on_due = lambda namespace, due_us, now_us: told.append((namespace, due_us - now_us))
    await put(still, schedule(due_us=clock.now_us + SECOND_US))
    await still._advance(NS)
    await still.schedules.fire_all(NS)
    await look(still)
    assert told[:3] == [(NS, SECOND_US), (NS, SECOND_US), (NS, 0)]
    # Due, and no worker there: the slow look.
    assert 0.75 * 5 * SECOND_US <= told[3][1] <= 5 * SECOND_US
    await still.schedules.delete(NS, ["s"])
    await still._advance(NS)
    assert told[4] == (NS, -1 - clock.now_us)


@pytest.mark.parametrize("name", ["a b", "\u00e9", "x" * 200])
def test_ids_of_runs_fit_whatever_the_name(name: str) -> None:
    stem = run_stem(name)
    assert stem.startswith("schedule:")
    assert stem != run_stem(name + "x")
    assert len(stem) + 17 <= 128
    assert stem.isascii()
    assert " " not in stem


def test_a_name_that_fits_is_seen_in_the_id() -> None:
    assert run_stem("mod.task") == "schedule:mod.task"
