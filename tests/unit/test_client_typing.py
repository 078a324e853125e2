"""What type checkers say to programs that use the client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.imports import SOURCES

RIGHT = """
import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

import dibs
from dibs import Admin, AsyncDibs, AsyncEnqueuedTask, Backoff, Dibs, EnqueuedTask, QueueInfo, Task

app = Dibs("127.0.0.1:7411", namespace="billing")


@dibs.task
def double(number: int, *, times: int = 1) -> int:
    return 2 * number * times


@app.task(queue=b"low", attempts=3, vis_timeout=timedelta(seconds=5), backoff=Backoff(initial=2))
def shout(text: str) -> str:
    return text.upper()


@dibs.task(save_results=60)
async def fetch(url: str) -> bytes:
    return url.encode()


@dibs.periodic_task(timedelta(minutes=5), never_skip=True)
def clean() -> None: ...


@dibs.cron_task("0 5 * * tue", timezone="Europe/Berlin")
def report() -> None: ...


def plain_calls() -> None:
    assert_type(double(1), int)
    coroutine: Coroutine[Any, Any, bytes] = fetch("x")
    coroutine.close()
    assert_type(double.execute(1, times=2), EnqueuedTask[int])
    assert_type(fetch.execute("x").get(5), bytes)
    assert_type(shout.execute("x").result, str | None)
    assert_type(shout.execute(text="x").wait(5, until="done"), bool)
    clean.execute()
    report.next()


def options() -> None:
    assert_type(double.options(delay=5, taskid="a", queue="q").execute(1), EnqueuedTask[int])
    assert_type(double.execute(1, delay=5), EnqueuedTask[int])
    assert_type(double.execute(1, delay=timedelta(1), taskid="a", _queue="q"), EnqueuedTask[int])
    double.execute(1, taskid="a")
    double.execute(1, _queue=b"q")
    double.execute(1, execute_inline_now=True)
    assert_type(double.retry(1), EnqueuedTask[int] | None)


def elsewhere() -> None:
    moved: Task[[str], str] = shout.on(dibs.default())
    moved.execute("x")
    with dibs.batch():
        double.execute(1)
    dibs.call_task("m.t", None, 1, key=2).wait(1)
    dibs.results([double.execute(1).taskid])


def running_it(admin: Admin) -> None:
    for queue in admin.queues(is_data=True):
        assert_type(queue, QueueInfo)
    for item in app.admin.items("mail", "set-aside", include_content=True):
        assert_type(item.policy.attempts, int)
    assert_type(dibs.Admin().purge_dead_letters(["a"], on_progress=lambda progress: print(progress.left)), int)
    admin.register_task("far.job", attempts=3, vis_timeout=timedelta(minutes=1))
    admin.put_schedule("nightly", dibs.Cron("0 3 * * *"), task="far.job", args=[1], attempts=2)
    Dibs(timeout=timedelta(seconds=5), tls=True, ca="ca.pem", channel_options=[("grpc.max_pings", 1)])
    dibs.connect("127.0.0.1:7411", namespace="billing", token=None)


async def awaited() -> None:
    async with AsyncDibs(of=app) as adibs:
        handle = await shout.on(adibs).execute("x")
        assert_type(handle, AsyncEnqueuedTask[str])
        assert_type(await handle.get(), str)
        assert_type(await handle.result, str | None)
        async for queue in adibs.admin.queues(["a"]):
            assert_type(queue, QueueInfo)
        assert_type(await adibs.admin.pause_queue("a"), bool)
        await adibs.Data("q", 3, vis_timeout=5, use_dead=True).put_data([1])
        if await handle.status == "done":
            await handle.cancel()
        await shout.on(adibs).execute("x", delay=5)
        async with adibs.batch():
            await shout.on(adibs).options(delay=1).execute("x")


asyncio.run(awaited())
"""

WRONG = """
import dibs


@dibs.task
def double(number: int) -> int:
    return 2 * number


@dibs.task
async def fetch(url: str) -> bytes:
    return url.encode()


double.execute("one")  # E
double.execute()  # E
double.execute(1, 2)  # E
double.execute(1, speed=2)  # E
double.options(delay=5).execute("one")  # E
double.options(speed=5)  # E
double("one")  # E
fetch.execute(1)  # E
text: str = double.execute(1).get()  # E
double.execute(1).wait(5, until="finished")  # E
dibs.task(speed=5)  # E
double.on(dibs.default()).execute("one")  # E
dibs.Dibs(tokn="x")  # E
dibs.Dibs(timeout="5")  # E
dibs.connect("there", tokn="x")  # E
adibs = dibs.AsyncDibs(tokn="x")  # E
adibs.Data("q", wrong=1)  # E
adibs.Data("q", attempts="3")  # E
dibs.Admin(of=adibs)  # E
dibs.Admin().items("q", "somewhere")  # E
dibs.Admin().register_task("t", speed=5)  # E
dibs.Admin().put_schedule("t", 60)  # E
dibs.nonsense  # E
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    """Lines that mypy complains about, by file."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "right.py").write_text(RIGHT)
    (folder / "wrong.py").write_text(WRONG)
    (folder / "mypy.ini").write_text(
        f"[mypy]\nstrict = true\nmypy_path = {SOURCES / 'clients/python'}\n[mypy-dibs.*]\nfollow_imports = silent\n"
        # Wherever the environment stands; in this project's own settings, too.
        "[mypy-google.rpc.*]\nignore_missing_imports = true\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", ".cache", "right.py", "wrong.py"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, set[int]] = {"right.py": set(), "wrong.py": set()}
    for name, line in re.findall(r"^(\S+):(\d+): error", done.stdout, re.MULTILINE):
        found[Path(name).name].add(int(line))
    return found


def test_a_right_program_passes(complaints: dict[str, set[int]]) -> None:
    assert complaints["right.py"] == set()


def test_every_wrong_line_of_a_program_is_found(complaints: dict[str, set[int]]) -> None:
    wrong = {number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# E")}

    assert complaints["wrong.py"] == wrong
