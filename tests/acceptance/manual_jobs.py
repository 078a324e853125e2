"""Tasks in the manner of the manual that users of rpqueue know; see test_manual_*.py."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import dibs

from .jobs import folder, note

#: Another queue system in the same program.
second = dibs.Dibs(namespace="second")


def running() -> dibs.RunningTask:
    task = dibs.CURRENT_TASK.task
    assert task is not None
    return task


def there(name: str) -> bool:
    """Whether the test has made a file of that name."""
    return (folder() / name).exists()


def until_there(name: str) -> None:
    while not there(name):
        time.sleep(0.005)


@dibs.AFTER_FORK
def open_connections() -> None:
    # Tests that only look at this module have no folder, and may run workers of their own in the same process.
    if "JOBS_FOLDER" in os.environ:
        note("after fork")


@dibs.task
def echo_to_stdout(message: str) -> None:
    print(message, flush=True)


@dibs.periodic_task(25, queue="low")
def function1() -> None:
    note("function1")


@dibs.cron_task("* * * * * *", seconds=True, queue="low")
def function2() -> None:
    note("function2")


@dibs.task(attempts=3, retry_delay=0, save_results=30)
def fail_until_zero(value: int, **kwargs: Any) -> None:
    note(f"fail_until_zero {running().taskid} {value} {kwargs['_attempts']} {running().attempt}")
    try:
        if value != 0:
            value -= 1
            raise ValueError(f"not yet, {value} to go")
    except ValueError:
        fail_until_zero.retry(value, **kwargs)
    else:
        print("succeeded", running().taskid, flush=True)


@dibs.task(attempts=20, vis_timeout=0.3, use_dead=False, save_results=30)
def eventually_succeeds(after: int, **kwargs: Any) -> list[Any]:
    if running().attempt > after:
        return ["done!", running().attempt, kwargs["_attempts"]]
    time.sleep(0.4)  # longer than it may take
    return ["too late", running().attempt]


@dibs.task(attempts=3, vis_timeout=30, retry_delay=0, save_results=30)
def raises_until(attempt: int) -> str:
    if running().attempt < attempt:
        raise LookupError(f"attempt {running().attempt}")
    return running().last_error


@dibs.task(attempts=2, vis_timeout=0.3, retry_delay=0, use_dead=True, save_results=30)
def fails_to_dead(label: str, how: str = "raise") -> str:
    if there(f"heal-{label}"):
        return "healed"
    if how == "raise":
        raise RuntimeError(f"{label} is broken")
    time.sleep(0.4)
    return "too late"


@dibs.task(attempts=3, vis_timeout=30, retry_delay=0, use_dead=True, save_results=30)
def retries_to_dead() -> None:
    if running().attempt == 1:
        retries_to_dead.retry()
    else:
        raise RuntimeError(f"attempt {running().attempt} of {running().attempts}")


@dibs.task(save_results=30, vis_timeout=30)
def my_task(label: str) -> str:
    note(f"my_task {label}")
    until_there(label)
    return label


@dibs.task(save_results=30)
def task_with_results(value: Any = 5) -> Any:
    return value


@dibs.task(name="manual.add", queue="sums", save_results=30)
def add(a: int, b: int) -> int:
    return a + b


@dibs.task(save_results=30)
async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0.01)
    return a + b


@dibs.task(save_results=30, vis_timeout=30)
async def endless(label: str) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note(f"endless {label} cancelled")
        raise


@dibs.task(save_results=30, vis_timeout=30)
def looks_around(label: str) -> None:
    note(f"looks_around {label}")
    while not running().cancelled:
        time.sleep(0.005)
    note(f"looks_around {label} saw it")


@dibs.task(attempts=3, retry_delay=0, save_results=30)
def retries_when_cancelled(label: str) -> None:
    note(f"retries {label}")
    until_there(label)
    note(f"retries {label} {retries_when_cancelled.retry(label)}")


@dibs.task(save_results=30)
def no_json() -> Any:
    return object()


@dibs.task(save_results=30)
def under_lock(name: str) -> bool:
    try:
        with dibs.SimpleLock(None, name, duration=30):
            return True
    except dibs.NoLock:
        return False


@second.task(save_results=30)
def greet(name: str) -> str:
    return f"hello {name} from {second.namespace}"
