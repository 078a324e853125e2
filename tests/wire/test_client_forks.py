"""A program that forks after it has talked to the broker goes on in both processes.

Each is a process of its own: the one that runs the tests serves brokers, too, and gRPC servers cannot be forked.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from dibs import Dibs

from ..support.broker_thread import BrokerThread, serving
from ..support.by_hand import take
from ..support.imports import SOURCES
from ..support.redis import RedisServer

PREAMBLE = """
import multiprocessing, os, sys, threading
import dibs

@dibs.task(name="note")
def note(who): ...

def end_of(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

OS_FORK = """
note.execute("parent")
children = []
for number in range(3):
    child = os.fork()
    if not child:
        note.execute("child")
        assert note.execute("child").status == "waiting"
        os._exit(0)
    children.append(child)
    note.execute("parent")
for child in children:
    end_of(child)
note.execute("parent")
"""

GRANDCHILD = """
note.execute("parent")
child = os.fork()
if not child:
    note.execute("child")
    grandchild = os.fork()
    if not grandchild:
        note.execute("grandchild")
        os._exit(0)
    end_of(grandchild)
    note.execute("child")
    os._exit(0)
end_of(child)
note.execute("parent")
"""

MULTIPROCESSING = """
def run(number):
    note.execute("child")
    with dibs.batch():
        for _ in range(9):
            note.execute("child")

note.execute("parent")
with multiprocessing.get_context("fork").Pool(2) as pool:
    pool.map(run, range(4))
    pool.close()
    pool.join()
note.execute("parent")
"""

BATCH = """
with dibs.batch():
    for _ in range(2_500):
        note.execute("parent")
    child = os.fork()
    if not child:
        for _ in range(10):
            note.execute("child")
    else:
        for _ in range(2_500):
            note.execute("parent")
if not child:
    dibs.close()
    os._exit(0)
end_of(child)
"""

THREADS = """
go_on = True
sent = 0
def work():
    global sent
    while go_on:
        note.execute("parent")
        sent += 1
note.execute("parent")
thread = threading.Thread(target=work)
thread.start()
for _ in range(5):
    child = os.fork()
    if not child:
        note.execute("child")
        os._exit(0)
    end_of(child)
go_on = False
thread.join()
print(sent + 1)
"""

STREAM = """
queue = dibs.Data("q", vis_timeout=30)
queue.put_data([1, 2])
found = []
for batch in queue.stream(items=1, get_timeout=1):
    found += batch.values()
    child = multiprocessing.get_context("fork").Process(target=batch.done, args=(list(batch),))
    child.start()
    child.join(20)
    assert child.exitcode == 0
print(found, *queue.currently_available())
"""

#: A call that must not be made twice is under way in another thread.
UNDER_WAY = """
import pathlib, time
flushing = threading.Thread(target=dibs.flush_tasks, kwargs={"force_delayed": True})
flushing.start()
while not pathlib.Path(os.environ["ARRIVED"]).exists():
    time.sleep(0.005)
child = os.fork()
if not child:
    try:
        note.execute("child")
        print("works", flush=True)
    except dibs.DibsError as error:
        print(str(error).partition(":")[0], flush=True)
    os._exit(0)
end_of(child)
flushing.join()
note.execute("parent")
"""

#: A child leaves by the main door what its parent has open; a batch, its stream and that of a consumer among it.
MAIN_DOOR = """
import grpc
other = grpc.insecure_channel(os.environ["DIBS_TARGET"])
grpc.channel_ready_future(other).result(20)
queue = dibs.Data("q", vis_timeout=30)
queue.put_data([1, 2])
ends = []
for batch in queue.stream(items=1, get_timeout=1):
    with dibs.batch():
        for _ in range(2_500):
            note.execute("parent")
        child = os.fork()
        if not child:
            sys.exit(0)
        end_of(child)
        ends.append(child)
print(len(ends), *queue.currently_available())
"""

#: Another thread holds whatever locks there are, for ever; nobody has used gRPC.
LOCKED_UNUSED = """
from dibs.rpc import forking
from dibs.rpc.transport import Transport
transport = dibs.default().transport
locks = [forking._lock, forking._one_fork, transport._lock, dibs.default()._lock._lock]
held = threading.Event()
def hold():
    for lock in locks:
        lock.acquire()
    held.set()
    threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if not child:
    note.execute("child")
    os._exit(0)
end_of(child)
os._exit(0)
"""

#: The same of one that a fork has to take.
LOCKED_USED = """
note.execute("parent")
lock = dibs.default().transport._lock
held = threading.Event()
over = threading.Event()
def hold():
    with lock:
        held.set()
        over.wait()
holding = threading.Thread(target=hold)
holding.start()
held.wait()
child = os.fork()
if not child:
    try:
        note.execute("child")
    except dibs.DibsError as error:
        print(str(error).partition(":")[0], flush=True)
    os._exit(0)
end_of(child)
over.set()
holding.join()
note.execute("parent")
"""

#: A handler of the standard library is registered, and its lock used all the time, while a fork waits.
REGISTERED_MEANWHILE = """
import grpc
other = grpc.insecure_channel(os.environ["DIBS_TARGET"])
grpc.channel_ready_future(other).result(20)
note.execute("parent")
over = threading.Event()
failed = []
def submit():
    try:
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(1) as executor:
            while not over.is_set():
                executor.submit(int)
                over.wait(0.0001)
    except BaseException as error:
        failed.append(error)
threading.Timer(0.2, submit).start()
child = os.fork()
if not child:
    os._exit(0)
end_of(child)
over.wait(0.5)
over.set()
assert not failed, failed
print("done", flush=True)
"""


class SlowFlush(grpc.aio.ServerInterceptor):
    """Flushes wait here.

    Attributes:
        calls: how many have come.
    """

    def __init__(self, arrived: Path, seconds: float) -> None:
        self.calls = 0
        self._arrived = arrived
        self._seconds = seconds

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        if details.method.endswith("/Flush"):
            self.calls += 1
            self._arrived.touch()
            await asyncio.sleep(self._seconds)
        return await continuation(details)


def run(program: str, target: str, **variables: str) -> str:
    environment = {
        **os.environ,
        **variables,
        "PYTHONPATH": str(SOURCES / "clients/python"),
        "DIBS_TARGET": target,
        "GRPC_VERBOSITY": "ERROR",
    }
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def notes(app: Dibs) -> dict[str, int]:
    """How often who has enqueued; ids are all different."""
    found: dict[str, int] = {}
    ids: set[str] = set()
    while batch := take(app, 1_000, wait=0):
        for delivery in batch:
            who = delivery.content.payload.decode().split('"')[3]
            found[who] = found.get(who, 0) + 1
            ids.add(delivery.id)
    assert len(ids) == sum(found.values())
    return found


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (OS_FORK, {"parent": 5, "child": 6}),
        (GRANDCHILD, {"parent": 2, "child": 2, "grandchild": 1}),
        (MULTIPROCESSING, {"parent": 2, "child": 40}),
        (BATCH, {"parent": 5_000, "child": 10}),
    ],
    ids=["fork", "grandchild", "multiprocessing", "batch"],
)
def test_parent_and_children_enqueue(app: Dibs, broker: BrokerThread, program: str, expected: dict[str, int]) -> None:
    run(program, broker.target)

    assert notes(app) == expected


def test_a_fork_while_another_thread_enqueues(app: Dibs, broker: BrokerThread) -> None:
    sent = int(run(THREADS, broker.target))

    assert notes(app) == {"parent": sent, "child": 5}


def test_a_child_process_leaves_an_open_stream_to_its_parent(broker: BrokerThread) -> None:
    assert run(STREAM, broker.target) == "[1, 2] 0 0\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.3, "works\n"), (2.5, "gRPC was in use when this process was forked and does not work in it\n")],
    ids=["short", "long"],
)
def test_a_call_that_must_not_be_made_twice_is_not_cut_off(
    redis_server: RedisServer, tmp_path: Path, seconds: float, said: str
) -> None:
    slow = SlowFlush(tmp_path / "arrived", seconds)
    with serving(redis_server.url, slow) as broker:
        printed = run(UNDER_WAY, broker.target, ARRIVED=str(tmp_path / "arrived"))

    assert (printed, slow.calls) == (said, 1)


def test_a_child_that_ends_leaves_what_is_open_to_its_parent(app: Dibs, broker: BrokerThread) -> None:
    assert run(MAIN_DOOR, broker.target) == "2 0 0\n"
    assert notes(app) == {"parent": 5_000}


def test_a_fork_waits_for_no_lock_where_grpc_was_not_used(app: Dibs, broker: BrokerThread) -> None:
    run(LOCKED_UNUSED, broker.target)

    assert notes(app) == {"child": 1}


def test_a_fork_does_without_a_lock_that_is_not_to_be_had(app: Dibs, broker: BrokerThread) -> None:
    said = run(LOCKED_USED, broker.target)

    assert said == "gRPC was in use when this process was forked and does not work in it\n"
    assert notes(app) == {"parent": 2}


def test_a_handler_that_is_registered_while_a_fork_waits_lets_go_no_lock_of_others(broker: BrokerThread) -> None:
    assert run(REGISTERED_MEANWHILE, broker.target) == "done\n"
