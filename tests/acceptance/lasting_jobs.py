"""Tasks that run for as long as the test likes, for tests of leases and limits. Each run writes into the journal."""

from __future__ import annotations

import asyncio
import os

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
