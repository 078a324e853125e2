"""What must hold for the processes of a run: I9 recovery, I11 resources of brokers, I12 ends and tracebacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .history import Event
from .invariants import Violation
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


def resources(before: Mapping[str, Usage], after: Mapping[str, tuple[Usage, Usage]]) -> Iterator[Violation]:
    """I11: an idle broker uses what it used before.

    Args:
        before: by broker, idle at the start of its present life.
        after: the same idle at the end, twice, some seconds apart.
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
