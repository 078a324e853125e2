"""Processes that fork: those that leave dibs alone end in peace; others can use it, or are told that they cannot.

What goes wrong here goes wrong in one of very many fresh processes; DIBS_FORK_PROGRAMS says how many to start in each
way. CONTRIBUTING.md says when to start many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dibs import Dibs

from ..support import redis as redis_support
from ..support.imports import SOURCES
from ..support.processes import environment, running_broker, running_dibs
from . import fork_jobs as jobs
from .fork_program import TOLD, WAYS, WELL

PROGRAMS = int(os.environ.get("DIBS_FORK_PROGRAMS", "1"))
CHILDREN = 4
SOON_S = 60
#: Ways in which gRPC cannot be ended before the fork; a child that wants to use it is told.
CANNOT = {"asyncio, uses", "asyncio, uses asyncio", "both, uses"}

pytestmark = pytest.mark.timeout(120 + 30 * PROGRAMS)


@pytest.fixture(scope="module")
def target(redis_programs: dict[int, str]) -> Iterator[str]:
    with (
        redis_support.running(redis_programs[max(redis_programs)]) as server,
        running_broker("--redis", server.url) as broker,
    ):
        yield broker.address


def run_program(target: str, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(SOURCES / "clients/python"), str(SOURCES)])
    own = environment({"PYTHONPATH": path, "DIBS_TARGET": target, **(env or {})})
    if env is None:
        own.pop("GRPC_ENABLE_FORK_SUPPORT", None)  # of the process that runs the tests
    return subprocess.run(
        [sys.executable, *words],
        env=own,
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=SOON_S,
    )


@pytest.mark.parametrize("way", WAYS)
def test_children_end_as_they_should(target: str, way: str) -> None:
    def ends(_: int) -> Counter[str]:
        done = run_program(target, "-m", "tests.acceptance.fork_program", way, str(CHILDREN))
        assert done.returncode == 0, done.stderr
        return Counter(json.loads(done.stdout))

    with ThreadPoolExecutor(2) as executor:
        found = sum(executor.map(ends, range(PROGRAMS)), Counter[str]())

    assert found == {str(TOLD if way in CANNOT else WELL): PROGRAMS * CHILDREN}


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_children_of_tasks_end_as_they_should(target: str, number: int) -> None:
    module = "tests.acceptance.fork_jobs"
    children = 8
    options = ("--queues", "forks", "--threads", "2")
    env = {"DIBS_TARGET": target}
    with Dibs(target) as client, running_dibs("worker", module, *options, cwd=SOURCES, env=env) as worker:
        worker.until_printed("registered")
        # Before anything in the process has used gRPC, and then beside an AsyncDibs that is open.
        assert jobs.plain.on(client).execute(children).get(SOON_S) == {str(WELL): children}
        assert jobs.using.on(client).execute(children).get(SOON_S) == {str(WELL): children}
        both = [jobs.in_loop.on(client).execute(children), jobs.plain.on(client).execute(children)]
        assert [one.get(SOON_S) for one in both] == [{str(WELL): children}] * 2
        assert jobs.using_in_loop.on(client).execute(children).get(SOON_S) == {str(TOLD): children}
        pools = [jobs.pool.on(client).execute(method) for method in ("fork", "spawn", "forkserver")]
        pools.append(jobs.pool_in_loop.on(client).execute("fork"))
        assert [one.get(SOON_S) for one in pools] == [[0, 2, 4, 6]] * 4
        using = [jobs.using_pool_in_loop.on(client).execute(method) for method in ("fork", "spawn", "forkserver")]
        assert [one.get(SOON_S) for one in using] == [[TOLD] * 4, [WELL] * 4, [WELL] * 4]
        # One after the other: multiprocessing takes no care of two threads that wait for processes of its own.
        for task in (jobs.programs, jobs.programs_in_loop):
            assert task.on(client).execute(children).get(SOON_S) == {str(WELL): children + 3}


def test_pools_of_plain_tasks_use_the_client(target: str) -> None:
    module = "tests.acceptance.fork_jobs"
    env = {"DIBS_TARGET": target}
    with Dibs(target) as client, running_dibs("worker", module, "--queues", "forks", cwd=SOURCES, env=env):
        using = [jobs.using_pool.on(client).execute(method) for method in ("fork", "spawn", "forkserver")]
        assert [one.get(SOON_S) for one in using] == [[WELL] * 4] * 3


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_children_of_tasks_in_the_process_of_the_stream_end_as_they_should(target: str, number: int) -> None:
    module = "tests.acceptance.fork_jobs"
    children = 8
    options = ("--target", target, "--queues", "forks", "--processes", "0")
    with Dibs(target) as client, running_dibs("worker", module, *options, cwd=SOURCES) as worker:
        worker.until_printed("registered")
        both = [task.on(client).execute(children) for task in (jobs.plain, jobs.in_loop)]
        assert [one.get(SOON_S) for one in both] == [{str(WELL): children}] * 2
        assert jobs.using.on(client).execute(children).get(SOON_S) == {str(TOLD): children}


#: What a server does that loads a program, forks workers, and replaces them: each worker serves for a while.
SERVER = """
import os, sys, threading
import dibs

@dibs.task(name="note", queue="notes")
def note(who): ...

note.execute("master")
over = threading.Event()

def go_on():
    while not over.is_set():
        note.execute("master")

def serve():
    threads = [threading.Thread(target=lambda: [note.execute("worker") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

master = threading.Thread(target=go_on)
master.start()
workers = []
for number in range(6):
    worker = os.fork()
    if not worker:
        serve()
        sys.exit(0)  # a worker of a server leaves by the main door
    workers.append(worker)
    if number >= 2:
        assert os.waitstatus_to_exitcode(os.waitpid(workers.pop(0), 0)[1]) == 0
for worker in workers:
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
over.set()
master.join()
"""


def test_a_server_that_forks_workers_from_a_master_that_used_the_client(target: str) -> None:
    for _ in range(PROGRAMS):
        done = run_program(target, "-c", SERVER)
        assert (done.returncode, done.stderr) == (0, "")


ANOTHER_USER = """
import os, sys
import dibs, grpc

other = grpc.insecure_channel(os.environ["DIBS_TARGET"])
grpc.channel_ready_future(other).result(20)
child = os.fork()
if not child:
    try:
        dibs.clear_queue("notes")
    except dibs.DibsError as error:
        print(error, flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
dibs.clear_queue("notes")
"""


def test_a_child_is_told_that_something_else_used_grpc(target: str) -> None:
    done = run_program(target, "-c", ANOTHER_USER)

    assert (done.returncode, done.stdout) == (
        0,
        "gRPC was in use when this process was forked and does not work in it: start it by spawn or forkserver "
        "instead of fork, or close every AsyncDibs and all else that uses gRPC before the fork\n",
    )


LATE = """
import grpc
import asyncio, os, sys
import dibs

async def main():
    async with dibs.AsyncDibs() as adibs:
        await adibs.clear_queue("notes")
        for _ in range(2):
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("program", "support", "warnings"),
    [(LATE, None, 1), (LATE, "1", 1), (LATE, "0", 0), (LATE.removeprefix("\nimport grpc"), None, 0)],
    ids=["grpc first", "switched on", "switched off", "dibs first"],
)
def test_it_is_said_once_that_grpcs_own_fork_support_is_on(
    target: str, program: str, support: str | None, warnings: int
) -> None:
    done = run_program(target, "-c", program, env=None if support is None else {"GRPC_ENABLE_FORK_SUPPORT": support})

    assert done.returncode == 0
    assert done.stderr.count("gRPC's own fork support is on and may crash children") == warnings


GEVENT = """
from gevent import monkey
monkey.patch_all()
import os
import gevent
import dibs

@dibs.task(name="note", queue="notes")
def note(who): ...

ticks = []

def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.01)

ticking = gevent.spawn(tick)
calls = [gevent.spawn(note.execute, "greenlet") for _ in range(20)]
gevent.joinall(calls, timeout=30, raise_error=True)
never = note.execute("greenlet", delay=3600)
before = len(ticks)
assert not never.wait(1)
assert len(ticks) - before > 20
child = os.fork()
if not child:
    note.execute("child")
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
note.execute("greenlet")
"""


def test_greenlets_of_gevent_go_on_while_one_calls(target: str) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    done = run_program(target, "-c", GEVENT)
    assert done.returncode == 0, done.stderr
