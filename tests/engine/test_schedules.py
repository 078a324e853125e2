"""What the scripts of schedules promise, step by step, on a clock that stands still."""

from __future__ import annotations

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.schedules import Look, NewSchedule, ScheduleState, StoredSchedule
from dibs.broker.engine.types import Spec, decode_record
from dibs.broker.engine.workers import ANY_TASK, WorkerReport, skill_set

from .helpers import LEASED, NS, SECOND_US, Clock, lease


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


async def look(engine: Engine, *names: str) -> Look:
    return await engine.schedules.look(NS, names)


async def test_a_schedule_waits_for_its_due_time_and_fires_once(still: Engine, other: Engine, clock: Clock) -> None:
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
