"""What must hold for the processes of a run: I9 recovery, I11 resources of brokers, I12 ends and tracebacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .history import Event
from .invariants import Violation
from .items import by_item
from .processes import Usage

#: What a broker may keep after a run of what it had not before: pools, caches, a subscription's spare connection.
_DESCRIPTORS, _RESIDENT_KIB = 12, 64 * 1024
#: Share of a core that an idle broker may use.
_IDLE_CPU = 0.12
#: By what a role is seen to work.
WORK = frozenset(("enqueued", "delivered", "began", "done", "letter"))
_USERS_CODE = "tests/robustness/jobs.py"
_TRACEBACK = re.compile(r"^.*Traceback \(most recent call last\):\n(?:[ |+].*\n|\n)*\S.*$", re.MULTILINE)


def recovered_after(events: Iterable[Event], roles: Sequence[str]) -> dict[str, float | None]:
    """Seconds from the end of the fault until each role was first seen to work; None for one that was not yet.

    What a call that had begun before comes to does not count: it may have been under way all the time.
    """
    over = float("inf")
    first: dict[str, float] = {}
    for event in events:
        if event.what == "fault ends":
            over = event.mono
        elif event.what in WORK and event.mono > over and not 0 < event.since < over:
            first.setdefault(event.role, event.mono - over)
    return {role: first.get(role) for role in roles}


def recovery(events: Iterable[Event], roles: Sequence[str], within_s: float) -> Iterator[Violation]:
    """I9: everybody works again within a bounded time after the fault."""
    for role, seconds in recovered_after(events, roles).items():
        if seconds is None:
            yield Violation("I9", f"{role} was not seen to work again after the fault")
        elif seconds > within_s:
            yield Violation("I9", f"{role} worked again only after {seconds:.1f} s, {within_s:g} s are allowed")


def punctuality(events: Sequence[Event], late_s: float) -> Iterator[Violation]:
    """I7: what is delayed comes within a bounded time after it is due; during a fault, after that has ended.

    Args:
        events: in order of time.
        late_s: how late it may be.
    """
    begins = next((event.wall for event in events if event.what == "fault begins"), float("inf"))
    ends = max((event.wall for event in events if event.what == "fault ends"), default=0.0)
    for item in by_item(events).values():
        due = item.asked.due if item.asked else 0.0
        if not due or not item.came:
            continue
        latest = due + late_s if due + late_s < begins else max(due, ends) + late_s
        if item.came[0].wall > latest:
            yield Violation("I7", f"{item.uid} came {item.came[0].wall - due:.1f} s after it was due: {item.tell()}")


def resources(before: Mapping[str, Usage], after: Mapping[str, tuple[Usage, Usage]]) -> Iterator[Violation]:
    """I11: an idle broker uses what it used before.

    Args:
        before: by broker, idle at its start.
        after: the same idle at the end, perhaps of a later life, twice, some seconds apart.
    """
    for name, (one, other) in after.items():
        first = before[name]
        if other.descriptors > first.descriptors + _DESCRIPTORS:
            yield Violation("I11", f"{name} has {other.descriptors} descriptors open, {first.descriptors} at the start")
        if other.resident_kib > first.resident_kib + _RESIDENT_KIB:
            yield Violation("I11", f"{name} takes {other.resident_kib} KiB, {first.resident_kib} KiB at the start")
        share = (other.cpu_s - one.cpu_s) / (other.at - one.at)
        if share > _IDLE_CPU:
            yield Violation("I11", f"{name} is idle and uses {share:.0%} of a core")


def ends(deaths: Iterable[str]) -> Iterator[Violation]:
    """I12: no process exited that was not killed."""
    return (Violation("I12", death) for death in deaths)


def forks(events: Iterable[Event]) -> Iterator[Violation]:
    """I12: a child of a fork ends as it wants to."""
    for event in events:
        if event.what == "forked" and not event.ok:
            yield Violation("I12", f"a child that {event.role} forked did not end in order: {event.text}")


def tracebacks(logs: Mapping[str, str]) -> Iterator[Violation]:
    """I12: no traceback of dibs' own; those of tasks that raise are the users'.

    Args:
        logs: by name of the process.
    """
    for name, log in logs.items():
        for found in _TRACEBACK.finditer(log):
            if _USERS_CODE not in found[0]:
                yield Violation("I12", f"{name} logged a traceback:\n{found[0]}")
