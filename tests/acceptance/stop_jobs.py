"""Tasks that do not end by themselves, for the tests of stopping. Each run writes a line into the journal."""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import suppress

import dibs

from .crash_jobs import await_file, note

app = dibs.Dibs()


def begin(label: str) -> None:
    note(f"run {label}")


@app.task(name="quick", vis_timeout=600, save_results=600)
def quick(label: str) -> None:
    """At least once, one attempt."""
    begin(label)
    time.sleep(0.005)


@app.task(name="quick_once", save_results=600)
def quick_once(label: str) -> None:
    """At most once."""
    begin(label)
    time.sleep(0.005)


@app.task(name="aquick", vis_timeout=600, save_results=600)
async def aquick(label: str) -> None:
    """At least once, one attempt."""
    begin(label)
    await asyncio.sleep(0.005)


@app.task(name="again", vis_timeout=600, attempts=2, retry_delay=600, save_results=600)
def again(label: str) -> int:
    """May run twice."""
    begin(label)
    await_file(label)
    attempt: int = dibs.CURRENT_TASK.task.attempt  # type: ignore[union-attr]
    return attempt


@app.task(name="last", vis_timeout=600, save_results=600)
def last(label: str) -> None:
    """At least once, with one attempt."""
    begin(label)
    await_file(label)


@app.task(name="once", save_results=600)
def once(label: str) -> None:
    """At most once."""
    begin(label)
    await_file(label)


@app.task(name="greedy", vis_timeout=600, attempts=2, save_results=600)
def greedy(label: str) -> str:
    """Holds the interpreter the first time, for as long as it is let."""
    begin(label)
    if dibs.CURRENT_TASK.task.attempt == 1:  # type: ignore[union-attr]
        re.fullmatch(r"(a+)+b", "a" * 40)
    return "done"


async def endless(label: str) -> None:
    begin(label)
    await asyncio.Event().wait()


@app.task(name="tidies", vis_timeout=600, attempts=2, retry_delay=600, save_results=600)
async def tidies(label: str) -> None:
    """Needs a moment to tidy up."""
    try:
        await endless(label)
    except asyncio.CancelledError:
        await asyncio.sleep(0.3)
        note(f"tidied {label}")
        raise


@app.task(name="saves", vis_timeout=600, save_results=600)
async def saves(label: str) -> str:
    """Comes to an end when it is cancelled."""
    with suppress(asyncio.CancelledError):
        await endless(label)
    return "saved"


@app.task(name="snoozes", vis_timeout=600, attempts=1, save_results=600)
async def snoozes(label: str) -> str:
    """Says itself when it comes again; the second time it is done."""
    if label == "stop":
        try:
            await endless(label)
        except asyncio.CancelledError:
            raise dibs.Snooze(600) from None
    return "done"


@app.task(name="clings", vis_timeout=600, attempts=2, retry_delay=600, save_results=600)
async def clings(label: str) -> None:
    """Does not let itself be cancelled."""
    begin(label)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note(f"clung {label}")


_kept: list[bytes] = []


@app.task(name="grows", vis_timeout=600, save_results=600)
def grows(mib: int) -> int:
    """Leaks memory."""
    _kept.append(b"x" * (mib << 20))
    return os.getpid()
