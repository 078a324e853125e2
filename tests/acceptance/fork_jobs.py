"""Tasks that fork, for the tests of forks. Each answers how its children ended."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import dibs

from .fork_program import end_of, fork, leave, note, use

app = dibs.default()
adibs = dibs.AsyncDibs(of=app)


@app.task(name="plain", queue="forks", vis_timeout=60, save_results=60)
def plain(children: int) -> dict[str, int]:
    """Leave dibs alone."""
    return dict(Counter(end_of(fork(leave)) for _ in range(children)))


@app.task(name="using", queue="forks", vis_timeout=60, save_results=60)
def using(children: int) -> dict[str, int]:
    """Use the client, which the task has used, too."""
    note.execute("task")
    return dict(Counter(end_of(fork(use)) for _ in range(children)))


@app.task(name="in_loop", queue="forks", vis_timeout=60, save_results=60)
async def in_loop(children: int) -> dict[str, int]:
    """Leave dibs alone, in an async task beside an open AsyncDibs."""
    await note.on(adibs).execute("task")
    return dict(Counter([await asyncio.to_thread(end_of, fork(leave)) for _ in range(children)]))


@app.task(name="using_in_loop", queue="forks", vis_timeout=60, save_results=60)
async def using_in_loop(children: int) -> dict[str, int]:
    """Use the client there."""
    await note.on(adibs).execute("task")
    return dict(Counter([await asyncio.to_thread(end_of, fork(use)) for _ in range(children)]))


def twice(number: int) -> int:
    """For a process of a pool."""
    return 2 * number


@app.task(name="pool", queue="forks", vis_timeout=60, save_results=60)
def pool(method: str) -> list[int]:
    """A pool of processes, as libraries have them."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        return list(executor.map(twice, range(4), timeout=30))


@app.task(name="pool_in_loop", queue="forks", vis_timeout=60, save_results=60)
async def pool_in_loop(method: str) -> list[int]:
    """The same in an async task."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, twice, number) for number in range(4)))
