"""Tasks that fork, for the tests of forks. Each answers how its children ended."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import dibs

from .fork_program import WELL, end_of, exit_with, fork, leave, note, use

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


def call(_: int) -> int:
    """For a process of a pool that uses the client."""
    return use()


@app.task(name="using_pool", queue="forks", vis_timeout=60, save_results=60)
def using_pool(method: str) -> list[int]:
    """A pool whose processes use the client, which the task has used, too."""
    note.execute("task")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        return list(executor.map(call, range(4), timeout=30))


@app.task(name="using_pool_in_loop", queue="forks", vis_timeout=60, save_results=60)
async def using_pool_in_loop(method: str) -> list[int]:
    """The same in an async task, beside an open AsyncDibs."""
    await note.on(adibs).execute("task")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, call, number) for number in range(4)))


def _started(method: str) -> Any:
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=exit_with, args=(leave,))
    process.start()
    return process


def _code(process: Any) -> int | None:
    process.join(30)
    code: int | None = process.exitcode
    return code


@app.task(name="programs", queue="forks", vis_timeout=60, save_results=60)
def programs(children: int) -> dict[str, int]:
    """Other programs, and processes of each kind that multiprocessing has."""
    words = ["sh", "-c", f"exit {WELL}"]
    ends: list[Any] = [
        subprocess.run(words, preexec_fn=(lambda: None) if one % 2 else None).returncode for one in range(children)
    ]
    ends += [_code(_started(method)) for method in ("fork", "spawn", "forkserver")]
    return dict(Counter(str(one) for one in ends))


@app.task(name="programs_in_loop", queue="forks", vis_timeout=60, save_results=60)
async def programs_in_loop(children: int) -> dict[str, int]:
    """The same in an async task."""
    ends: list[Any] = [
        await (await asyncio.create_subprocess_exec("sh", "-c", f"exit {WELL}")).wait() for _ in range(children)
    ]
    # Not started in a thread of an executor: Python itself has a process fail that is forked there, at its end.
    ends += [await asyncio.to_thread(_code, _started(method)) for method in ("fork", "spawn", "forkserver")]
    return dict(Counter(str(one) for one in ends))
