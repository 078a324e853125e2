"""Tasks that run for as long as the test likes, for tests of leases and limits. Each run writes into the journal."""

from __future__ import annotations

import asyncio
import os
import re
import time

import dibs

from . import crash_jobs as jobs

app = dibs.Dibs()

#: Of all of them, but for those that say otherwise. Renewals keep to it on a busy machine, too.
LEASE_S = 2.0


@app.task(name="last", lease=LEASE_S, retry_delay=0, save_results=600)
def last(label: str) -> int:
    """Ends when the test makes a file of that name."""
    jobs.note(f"run {label}")
    jobs.await_file(label)
    return os.getpid()


@app.task(name="alast", lease=LEASE_S, retry_delay=0, save_results=600)
async def alast(label: str) -> int:
    """As `last`, in the event loop."""
    jobs.note(f"run {label}")
    await asyncio.to_thread(jobs.await_file, label)
    return os.getpid()


@app.task(name="steady", lease=5, save_results=600)
def steady(label: str) -> int:
    """As `last`, with a longer lease."""
    return int(last.function(label))


@app.task(name="holder", lease=LEASE_S, attempts=1, save_results=600)
def holder(seconds: float) -> float:
    """Holds the interpreter for so long."""
    return float(jobs.greedy.function(seconds))


@app.task(name="brief", lease=LEASE_S, save_results=600)
def brief(label: str) -> int:
    """Ends at once."""
    jobs.note(f"run {label}")
    return os.getpid()


@app.task(name="hang", lease=30, time_limit=0.5, attempts=1, save_results=600)
def hang(label: str) -> None:
    """Is in one call for ever, which no exception ends."""
    jobs.note(f"run {label}")
    time.sleep(3600)


@app.task(name="hang_once", time_limit=0.5)
def hang_once(label: str) -> None:
    """As `hang`, at most once."""
    hang.function(label)


@app.task(name="hold_for_ever", lease=30, time_limit=0.5, attempts=1, save_results=600)
def hold_for_ever(label: str) -> None:
    """As `hang`, and holds the interpreter."""
    jobs.note(f"run {label}")
    re.match(r"(a+)+$", "a" * 60 + "b")


@app.task(name="ahang", lease=30, time_limit=0.5, attempts=1, save_results=600)
async def ahang(label: str) -> None:
    """As `hang`, and holds the event loop."""
    hang.function(label)


@app.task(name="aignore", lease=30, time_limit=0.5, attempts=1, save_results=600)
async def aignore(label: str) -> None:
    """Does not let itself be cancelled."""
    jobs.note(f"run {label}")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


@app.task(name="frail", lease=600, attempts=1, save_results=600)
def frail(label: str) -> int:
    """Has one attempt, and ends at once."""
    jobs.note(f"run {label}")
    return os.getpid()


@app.task(name="neighbour", lease=600, attempts=2, max_crashes=1, save_results=600)
def neighbour(label: str) -> int:
    """Ends when the test makes a file of that name. One crash would be too many."""
    return int(last.function(label))


@app.task(name="aneighbour", lease=600, attempts=2, max_crashes=1, save_results=600)
async def aneighbour(label: str) -> int:
    """As `neighbour`, in the event loop."""
    return int(await alast.function(label))
