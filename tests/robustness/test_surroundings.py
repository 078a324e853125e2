"""What is found of the processes of a run, and how a history is written and read."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from ..support.imports import SOURCES
from ..support.waiting import until
from .history import Event, Writer, processes_of, read
from .invariants import Violation
from .processes import Usage
from .surroundings import ends, forks, punctuality, recovered_after, recovery, resources, tracebacks

OVER = Event(what="fault ends", mono=10.0)
ROLES = ["producer", "worker"]
BEFORE = Usage(descriptors=20, resident_kib=60_000, cpu_s=1.0, at=0.0)


def event(what: str, role: str, mono: float, since: float = 0.0) -> Event:
    return Event(what=what, role=role, mono=mono, since=since)


def test_recovery_is_what_began_after_the_fault() -> None:
    events = [event("enqueued", "producer", 9), OVER, event("enqueued", "producer", 11, since=9.5)]
    events += [event("enqueued", "producer", 12, since=11.5), event("began", "worker", 13)]
    assert recovered_after(events, ROLES) == {"producer": 2, "worker": 3}
    assert list(recovery(events, ROLES, 3)) == []


def test_a_role_that_recovers_late_or_never_is_told() -> None:
    events = [event("began", "worker", 9), OVER, event("enqueued", "producer", 30, since=29)]
    assert list(recovery(events, ROLES, 15)) == [
        Violation("I9", "producer worked again only after 20.0 s, 15 s are allowed"),
        Violation("I9", "worker was not seen to work again after the fault"),
    ]


def delayed(came: float) -> list[Event]:
    """A history with a fault from 50 to 60 and an item that was due at 52."""
    return [
        Event(what="asked", uid="a", kind="later", wall=20, mono=20, due=52),
        Event(what="enqueued", uid="a", kind="later", wall=21, mono=21),
        Event(what="fault begins", wall=50, mono=50),
        Event(what="fault ends", wall=60, mono=60),
        Event(what="began", uid="a", kind="later", wall=came, mono=came),
    ]


def test_what_was_due_during_a_fault_comes_soon_after_it() -> None:
    assert list(punctuality(delayed(64), 5)) == []
    (found,) = punctuality(delayed(66), 5)
    assert found.text.startswith("a came 14.0 s after it was due")


def test_what_was_due_before_a_fault_comes_in_its_time() -> None:
    early = [replace(one, due=30) if one.what == "asked" else one for one in delayed(40)]
    (found,) = punctuality(early, 5)
    assert found.text.startswith("a came 10.0 s after it was due")


def test_a_broker_that_uses_what_it_used_is_well() -> None:
    after = replace(BEFORE, descriptors=21, resident_kib=70_000, cpu_s=5.0, at=100.0)
    assert list(resources({"broker": BEFORE}, {"broker": (after, replace(after, cpu_s=5.05, at=102.0))})) == []


def test_descriptors_memory_and_a_busy_idle_broker_are_told() -> None:
    one = replace(BEFORE, descriptors=90, resident_kib=200_000, cpu_s=5.0, at=100.0)
    found = list(resources({"broker": BEFORE}, {"broker": (one, replace(one, cpu_s=6.0, at=102.0))}))
    assert [violation.text for violation in found] == [
        "broker has 90 descriptors open, 20 at the start",
        "broker takes 200000 KiB, 60000 KiB at the start",
        "broker is idle and uses 50% of a core",
    ]


def test_ends_that_nobody_asked_for_are_told() -> None:
    assert list(ends(["broker0 ended by itself with 1"])) == [Violation("I12", "broker0 ended by itself with 1")]


def test_a_child_of_a_fork_that_dies_is_told() -> None:
    well, ill = (
        Event(what="forked", role="worker0"),
        Event(what="forked", role="worker0", ok=False, text="wait status 6"),
    )
    assert list(forks([well, ill])) == [
        Violation("I12", "a child that worker0 forked did not end in order: wait status 6")
    ]


def test_a_traceback_of_our_own_is_told_and_one_of_a_task_is_not() -> None:
    ours = 'Traceback (most recent call last):\n  File "/x/broker/work.py", line 1, in f\n    f()\nKeyError: 1\n'
    theirs = 'Traceback (most recent call last):\n  File "/x/tests/robustness/jobs.py", line 1, in f\nRuntimeError: 2\n'
    (found,) = tracebacks({"broker0": f"well\n{ours}well\n", "worker0": f"well\n{theirs}well\n"})
    assert found == Violation("I12", f"broker0 logged a traceback:\n{ours.rstrip()}")


def test_a_history_comes_back_in_order_without_its_last_half_line(tmp_path: Path) -> None:
    write = Writer(tmp_path, "worker0")
    write(Event(what="asked", uid="a"))
    Writer(tmp_path, "producers")(Event(what="enqueued", uid="a", id="7"), role="producer-stubs")
    write(Event(what="began", uid="a", token=0))
    (path,) = tmp_path.glob("worker0-*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"what":"en')
    assert [(one.what, one.role, one.uid, one.token) for one in read(tmp_path)] == [
        ("asked", "worker0", "a", None),
        ("enqueued", "producer-stubs", "a", None),
        ("began", "worker0", "a", 0),
    ]
    assert processes_of(tmp_path, "worker0") == {os.getpid()}


def test_a_process_does_not_outlive_its_harness(tmp_path: Path) -> None:
    harness = (
        "import sys, pathlib\n"
        "from tests.robustness.processes import Process\n"
        "process = Process('sleeper', ['sleep', '60'], pathlib.Path(sys.argv[1]), {})\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", harness, str(tmp_path)], cwd=SOURCES, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        sleeper = psutil.Process(int(running.stdout.readline()))
        until(lambda: sleeper.name() == "sleep", "it is in its place", 10)
        running.kill()
    psutil.wait_procs([sleeper], 10)
    assert not sleeper.is_running()
