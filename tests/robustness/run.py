"""One run: a cluster at work, a fault, the recovery, the audit, and what was seen that must not be."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..support.imports import SOURCES
from . import audit, invariants, surroundings
from .cluster import Cluster, running, until
from .faults import Fault
from .history import Event, Flags, read
from .invariants import Violation
from .items import by_item
from .processes import Usage

#: Where histories and logs stay; git ignores it.
RUNS = SOURCES / ".cache" / "robustness"
_WARM_S = 60.0
_SETTLE_S, _IDLE_S = 1.0, 2.0
#: Load goes on for so long after the recovery.
_CALM_S = 1.5


@dataclass(frozen=True)
class Report:
    """What came of a run.

    Attributes:
        fault: which fault.
        seed: of the run.
        violations: what was seen that must not be.
        numbers: what happened, by name.
        recovered_s: the longest recovery of all roles; None if one did not recover.
        folder: of its history and logs.
    """

    fault: Fault
    seed: int
    violations: Sequence[Violation]
    numbers: Counter[str]
    recovered_s: float | None
    folder: Path

    @property
    def command(self) -> str:
        """Does the same again."""
        return f"python -m tests.robustness --fault {self.fault.name} --seed {self.seed}"

    def __str__(self) -> str:
        """A line for a run in which everything held, more for others."""
        numbers = ", ".join(f"{count:,} {name}" for name, count in self.numbers.items())
        recovered = "not recovered" if self.recovered_s is None else f"recovered in {self.recovered_s:.1f} s"
        head = f"{self.fault.name} seed {self.seed}: {numbers}, {recovered}: "
        if not self.violations:
            return head + "holds"
        broken = "\n".join(f"  {violation}" for violation in self.violations)
        return f"{head}BROKEN\n{broken}\n  again: {self.command}\n  history and logs: {self.folder}"


def run(fault: Fault, seed: int, seconds: float | None = None, *, keep: bool = False) -> Report:
    """Carry a fault out under load and check everything.

    Args:
        fault: what to do.
        seed: of everything that is left to chance.
        seconds: how long the fault goes on. Default: its own time.
        keep: keep history and logs even if everything holds.

    Raises:
        NoSmallDisk: the fault needs a small disk, and this machine does not allow one.
    """
    folder = RUNS / f"{fault.name}-{seed}-{os.getpid()}"
    with running(folder, seed, replica=fault.replica, small_disk=fault.small_disk) as cluster:
        found = _carry_out(cluster, fault, fault.seconds if seconds is None else seconds)
        report = _report(cluster, fault, found)
    if not report.violations and not keep:
        shutil.rmtree(folder)
    return report


def _carry_out(cluster: Cluster, fault: Fault, seconds: float) -> list[Violation]:
    """Everything from the first item to the end of the last process; what the processes did wrong by themselves."""
    time.sleep(_SETTLE_S)
    before = {broker.name: broker.usage() for broker in cluster.brokers}
    cluster.start_clients()
    until(lambda: not _idle_roles(cluster), "everybody works", _WARM_S)
    cluster.note(Event(what="fault begins", text=fault.name))
    undo = fault.happen(cluster, seconds)
    cluster.note(Event(what="fault ends", text=fault.name))
    _await_recovery(cluster, fault.expect.recovery_s)
    if undo:
        undo()
    return _finish(cluster, before)


def _report(cluster: Cluster, fault: Fault, found: list[Violation]) -> Report:
    """Look at the history and at the logs."""
    events = read(cluster.events)
    found = found + invariants.check(events, fault.expect)
    found += surroundings.recovery(events, cluster.roles, fault.expect.recovery_s)
    found += surroundings.punctuality(events, fault.expect.recovery_s)
    found += surroundings.forks(events)
    found += surroundings.ends(death for process in cluster.processes for death in process.deaths)
    found += surroundings.tracebacks({process.name: process.said() for process in cluster.processes})
    times = surroundings.recovered_after(events, cluster.roles).values()
    longest = None if None in times else max(seconds for seconds in times if seconds is not None)
    return Report(fault, cluster.seed, found, _numbers(events), longest, cluster.folder)


def _idle_roles(cluster: Cluster) -> set[str]:
    """Roles that have not been seen to work yet."""
    return set(cluster.roles) - {event.role for event in read(cluster.events) if event.what in surroundings.WORK}


def _await_recovery(cluster: Cluster, within_s: float) -> None:
    """Wait until every role works again, or should have."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if None not in surroundings.recovered_after(read(cluster.events), cluster.roles).values():
            break
        time.sleep(0.25)
    time.sleep(_CALM_S)


def _finish(cluster: Cluster, before: dict[str, Usage]) -> list[Violation]:
    """Stop the producers, drain, audit, look at the idle brokers, and end everything in order."""
    cluster.flags.wave(Flags.STOP_PRODUCING)
    producers, consumers = cluster.clients
    producers.finish(_WARM_S)
    found = list(audit.drained(cluster))
    consumers.finish(_WARM_S)
    found += audit.audit(cluster)
    time.sleep(_SETTLE_S)
    idle = {broker.name: broker.usage() for broker in cluster.brokers}
    time.sleep(_IDLE_S)
    after = {broker.name: (idle[broker.name], broker.usage()) for broker in cluster.brokers}
    found += surroundings.resources(before, after)
    for process in (*cluster.workers, *cluster.brokers):
        process.stop()
    for process in cluster.processes:
        process.alive()  # notes an end that nobody asked for
    return found


def _numbers(events: Sequence[Event]) -> Counter[str]:
    items = by_item(events).values()
    numbers = Counter(items=len(items), confirmed=sum(item.confirmed is not None for item in items))
    numbers["deliveries"] = sum(len(item.came) for item in items)
    numbers["letters"] = sum(len(item.letters) for item in items)
    for name, count in (
        ("lost at most once", len(invariants.lost_once(items))),
        ("uncounted runs", sum(item.uncounted for item in items)),
    ):
        if count:
            numbers[name] = count
    return numbers
