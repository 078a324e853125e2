"""Tasks that die, hold on and fork, for the tests of task processes. Each run writes a line into the journal."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

import dibs

app = dibs.Dibs()


def folder() -> Path:
    return Path(os.environ["JOBS_FOLDER"])


def note(text: str) -> None:
    """One line, whole whoever else writes."""
    with (folder() / "journal").open("ab", buffering=0) as journal:
        journal.write(f"{text} {os.getpid()}\n".encode())


@dibs.AFTER_FORK
def begin_slowly() -> None:
    """Until the test removes a file of that name; nothing where only tests have imported this."""
    while "JOBS_FOLDER" in os.environ and (folder() / "slowly").exists():
        time.sleep(0.005)


def await_file(name: str) -> None:
    while not (folder() / name).exists():
        time.sleep(0.005)


@app.task(name="kept", vis_timeout=600, save_results=600)
def kept(label: str) -> int:
    """At least once, one attempt, with a result."""
    note(f"run {label}")
    return os.getpid()


@app.task(name="plain", vis_timeout=600)
def plain(label: str) -> None:
    """At least once, one attempt, nothing kept."""
    note(f"run {label}")


@app.task(name="once")
def once(label: str) -> None:
    """At most once; the broker forgets it when it hands it out."""
    note(f"run {label}")


@app.task(name="once_kept", save_results=600)
def once_kept(label: str) -> int:
    """At most once, with a result."""
    note(f"run {label}")
    return os.getpid()


@app.task(name="hold", vis_timeout=600, save_results=600)
def hold(label: str) -> int:
    """Ends when the test makes a file of that name."""
    note(f"run {label}")
    await_file(label)
    return os.getpid()


@app.task(name="akept", vis_timeout=600, save_results=600)
async def akept(label: str) -> int:
    """As `kept`, in the event loop."""
    note(f"run {label}")
    await asyncio.sleep(0.001)
    return os.getpid()


@app.task(name="die", vis_timeout=600, save_results=600, attempts=1000, retry_delay=0)
def die(how: str) -> None:
    """Kills its process."""
    note(f"run {how}")
    if how == "exit":
        os._exit(7)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)


@app.task(name="die_twice", vis_timeout=600, save_results=600, attempts=1000, retry_delay=0, max_crashes=2)
def die_twice() -> None:
    note("run twice")
    os._exit(7)


@app.task(name="fork", vis_timeout=600, save_results=600)
def fork(number: int) -> list[int]:
    """How many children ended as they should, and otherwise."""
    codes = []
    for _ in range(number):
        pid = os.fork()
        if not pid:
            os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return [codes.count(0), number - codes.count(0)]


@app.task(name="come_back", vis_timeout=600, save_results=600)
def come_back(fails: bool) -> str:
    """Forks a child that comes back from the task as if it were the worker."""
    pid = os.fork()
    if not pid:
        if fails:
            raise LookupError("in the child")
        return "child"
    _, status = os.waitpid(pid, 0)
    return f"parent, child {os.waitstatus_to_exitcode(status)}"


@app.task(name="greedy", vis_timeout=600, save_results=600)
def greedy(seconds: float) -> float:
    """Holds the interpreter for so long, in calls that get longer and longer."""
    length, longest, told = 18, 0.0, False
    while longest < seconds:
        if not told and 4 * longest >= seconds:
            note("run holding")  # each takes about twice as long as the one before
            told = True
        began = time.monotonic()
        re.match(r"(a+)+$", "a" * length + "b")
        longest = max(longest, time.monotonic() - began)
        length += 1
    return longest


@app.task(name="large", vis_timeout=600, save_results=600)
def large(size: int) -> str:
    return "x" * size


@app.task(name="fail", vis_timeout=600, save_results=600, attempts=2, retry_delay=0)
def fail() -> None:
    note("run fail")
    raise LookupError("as told")


@app.task(name="debug", vis_timeout=600, save_results=600)
def debug() -> None:
    breakpoint()


@app.task(name="close_everything", vis_timeout=600, save_results=600)
def close_everything() -> None:
    note("run close")
    os.closerange(3, 1024)
    time.sleep(0.1)


@app.task(name="ahold", vis_timeout=600, save_results=600)
async def ahold(label: str) -> int:
    """As `hold`, in the event loop."""
    note(f"run {label}")
    await asyncio.to_thread(await_file, label)
    return os.getpid()


@app.task(name="close_and_stay", vis_timeout=600, save_results=600)
def close_and_stay() -> None:
    """Closes what is not its own, takes the numbers for other files, and then has nothing to say for long."""
    note("run close")
    os.closerange(3, 1024)
    held = [os.open(os.devnull, os.O_RDWR) for _ in range(100)]
    await_file("never")
    held.clear()


@app.task(name="aclose", vis_timeout=600, save_results=600)
async def aclose() -> None:
    """As `close_everything`, in the event loop, which cannot go on."""
    note("run close")
    os.closerange(3, 1024)
    await asyncio.sleep(600)


@app.task(name="astop", vis_timeout=600, save_results=600)
async def astop() -> str:
    """Stops its event loop."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "went on"


class Lazy(dict[str, int]):
    """A result that raises when it is read."""

    def items(self) -> NoReturn:
        raise SystemExit("while it was read")


@app.task(name="lazy", vis_timeout=600, save_results=600)
def lazy() -> Any:
    return Lazy(a=1)


@app.task(name="alazy", vis_timeout=600, save_results=600)
async def alazy() -> Any:
    return Lazy(a=1)


@app.task(name="acome_back", vis_timeout=600, save_results=600)
async def acome_back(fails: bool) -> str:
    """As `come_back`, in the event loop."""
    return str(come_back.function(fails))


@app.task(name="late", vis_timeout=1, save_results=600)
def late(label: str) -> int:
    """As `hold`, with a lease that ends before it does."""
    return int(hold.function(label))


@app.task(name="alate", vis_timeout=1, save_results=600)
async def alate(label: str) -> int:
    """As `late`, in the event loop."""
    return int(await ahold.function(label))
