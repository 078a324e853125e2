"""A program that forks in the middle of what it does, and says how its children ended.

``python -m tests.acceptance.fork_program WAY CHILDREN``, with DIBS_TARGET set. Each is to be a fresh process, for
what goes wrong in a fork goes wrong in one of many first forks, and not in the thousandth fork of one process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import dibs

#: Exit codes of children: all is well; it was told that it cannot use dibs, and what to do; an error of another kind.
WELL, TOLD, WRONG = 7, 3, 9
_CHILD_S = 30.0


@dibs.task(name="note", queue="notes")
def note(who: str) -> None:
    """Never runs."""


def leave() -> int:
    """What a child does that has nothing to do with dibs."""
    gc.collect()
    return WELL


def told(error: dibs.DibsError) -> int:
    """Whether the error says what to do."""
    return TOLD if "spawn" in str(error) and "AsyncDibs" in str(error) else WRONG


def use() -> int:
    """A child that uses the client."""
    try:
        return WELL if note.execute("child").status == "waiting" else WRONG
    except dibs.DibsError as error:
        return told(error)


def use_asyncio() -> int:
    """A child that uses an AsyncDibs of its own."""

    async def call() -> None:
        async with dibs.AsyncDibs(of=dibs.default()) as adibs:
            await note.on(adibs).execute("child")

    asyncio.events._set_running_loop(None)  # the parent's, if it was in one
    try:
        asyncio.run(call())
    except dibs.DibsError as error:
        return told(error)
    return WELL


def use_and_fork() -> int:
    """A child that does both."""
    used = use()
    return used if used != WELL else int(end_of(fork(use)))


def exit_with(does: Callable[[], int]) -> None:
    """The target of a process of multiprocessing."""
    sys.exit(does())


def fork(does: Callable[[], int]) -> int:
    """The id of a child that does that and ends with what it returns."""
    child = os.fork()
    if child:
        return child
    code = WRONG
    try:
        code = does()
    finally:
        os._exit(code)


def end_of(child: int) -> str:
    """How it ended: an exit code, a signal below 0, or "hung"."""
    end = time.monotonic() + _CHILD_S
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return str(os.waitstatus_to_exitcode(status))
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hung"


@contextmanager
def busy_threads(number: int = 3) -> Iterator[None]:
    """Threads that enqueue without a pause, and one that waits all the time; nothing may go wrong there."""
    over = threading.Event()
    failed: list[BaseException] = []

    def run(does: Callable[[], object]) -> None:
        try:
            while not over.is_set():
                does()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    never = note.execute("parent", delay=3600)
    work: list[Callable[[], object]] = [lambda: note.execute("parent")] * number
    threads = [threading.Thread(target=run, args=(does,)) for does in (*work, lambda: never.wait(0.5))]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed, failed


@asynccontextmanager
async def busy_tasks(number: int = 3) -> AsyncIterator[None]:
    """The same over an AsyncDibs."""
    over = False
    async with dibs.AsyncDibs(of=dibs.default()) as adibs:
        never = await note.on(adibs).execute("parent", delay=3600)

        async def run() -> None:
            while not over:
                await note.on(adibs).execute("parent")

        tasks = [asyncio.create_task(run()) for _ in range(number)]
        waiting = asyncio.create_task(never.wait(3600))
        await asyncio.sleep(0.1)
        yield
        over = True
        await asyncio.gather(*tasks)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


def beside_threads(does: Callable[[], int], children: int) -> Counter[str]:
    with busy_threads():
        return Counter(end_of(fork(does)) for _ in range(children))


def beside_asyncio(does: Callable[[], int], children: int) -> Counter[str]:
    async def main() -> Counter[str]:
        async with busy_tasks():
            return Counter([await asyncio.to_thread(end_of, fork(does)) for _ in range(children)])

    return asyncio.run(main())


def beside_both(does: Callable[[], int], children: int) -> Counter[str]:
    with busy_threads():
        return beside_asyncio(does, children)


def after_asyncio(does: Callable[[], int], children: int) -> Counter[str]:
    """The AsyncDibs was never closed; its loop was."""
    adibs = dibs.AsyncDibs(of=dibs.default())
    for _ in range(2):
        asyncio.run(note.on(adibs).execute("parent"))
    return beside_threads(does, children)


def after_close(does: Callable[[], int], children: int) -> Counter[str]:
    """The AsyncDibs was closed; its loop goes on."""

    async def main() -> Counter[str]:
        async with busy_tasks():
            pass
        return Counter([await asyncio.to_thread(end_of, fork(does)) for _ in range(children)])

    return asyncio.run(main())


def after_errors(does: Callable[[], int], children: int) -> Counter[str]:
    """The same, and the program has kept what was raised there."""

    async def main() -> Counter[str]:
        kept: list[BaseException] = []
        async with dibs.AsyncDibs(of=dibs.default()) as adibs:
            never = await note.on(adibs).execute("parent", delay=3600)
            waiting = asyncio.create_task(never.wait(3600))
            await asyncio.sleep(0.1)
            waiting.cancel()
            for call in (waiting, asyncio.wait_for(never.wait(3600), 0.1), adibs.clear_queue("no name\n")):
                try:
                    await call
                except (asyncio.CancelledError, TimeoutError, dibs.DibsError) as error:
                    kept.append(error)
        ends = Counter([await asyncio.to_thread(end_of, fork(does)) for _ in range(children)])
        assert len(kept) == 3
        return ends

    return asyncio.run(main())


def by_multiprocessing(method: str) -> Callable[[Callable[[], int], int], Counter[str]]:
    def run(does: Callable[[], int], children: int) -> Counter[str]:
        ends: Counter[str] = Counter()
        with busy_threads():
            for _ in range(children):
                context: Any = multiprocessing.get_context(method)
                process = context.Process(target=exit_with, args=(does,))
                process.start()
                process.join(_CHILD_S)
                ends[str(process.exitcode)] += 1
                process.kill()
        return ends

    return run


def by_subprocess(does: Callable[[], int], children: int) -> Counter[str]:
    """Started as libraries do, in ways that use vfork, and fork."""
    ends: Counter[str] = Counter()
    with busy_threads():
        for number in range(children):
            preexec = (lambda: None) if number % 2 else None
            done = subprocess.run(["sh", "-c", f"exit {WELL}"], cwd="/", preexec_fn=preexec, timeout=_CHILD_S)
            ends[str(done.returncode)] += 1
    return ends


WAYS: dict[str, tuple[Callable[[Callable[[], int], int], Counter[str]], Callable[[], int]]] = {
    "threads, leaves": (beside_threads, leave),
    "threads, uses": (beside_threads, use),
    "threads, uses asyncio": (beside_threads, use_asyncio),
    "threads, grandchild": (beside_threads, use_and_fork),
    "asyncio, leaves": (beside_asyncio, leave),
    "asyncio, uses": (beside_asyncio, use),
    "asyncio, uses asyncio": (beside_asyncio, use_asyncio),
    "both, leaves": (beside_both, leave),
    "both, uses": (beside_both, use),
    "asyncio is over, uses": (after_asyncio, use),
    "asyncio was closed, uses": (after_close, use),
    "asyncio was closed, uses asyncio": (after_close, use_asyncio),
    "asyncio was closed, errors are kept": (after_errors, use),
    "fork": (by_multiprocessing("fork"), use),
    "spawn": (by_multiprocessing("spawn"), use),
    "forkserver": (by_multiprocessing("forkserver"), use),
    "subprocess": (by_subprocess, leave),
}

if __name__ == "__main__":
    way, does = WAYS[sys.argv[1]]
    print(json.dumps(way(does, int(sys.argv[2]))))
