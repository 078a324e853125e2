"""Which workers are connected, to any broker, and what they can run.

Brokers report their workers every few seconds; what was not reported for `LIFETIME_US` is gone. Workers that can run
the same tasks share one skill set, whose names are written down once and not with every report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .connections import Argument
from .scripts import Call

#: How long a worker is believed to be there after its last report.
LIFETIME_US = 15_000_000
#: Names are kept this long after the last report of a worker that has them; each report lengthens it.
_NAMES_MS = LIFETIME_US // 1000 * 4
#: Workers that one script call reports.
_MAX_REPORTS = 500

#: Skill set of workers that take any task.
ANY_TASK = "*"
#: Skill set of workers that run no tasks.
NO_TASK = "-"


class WorkerReport(NamedTuple):
    """One connected worker. `name` tells it from all others and orders the list; `info` is for the caller to read."""

    name: str
    skills: str
    info: bytes


class ConnectedWorker(NamedTuple):
    """A worker as it was reported last, at `seen_us` of Redis's clock."""

    name: str
    skills: str
    seen_us: int
    info: bytes


def skill_set(tasks: Iterable[str]) -> str:
    """The digest that names a set of tasks."""
    return hashlib.sha256("\0".join(sorted(set(tasks))).encode()).hexdigest()[:32]


class Workers:
    """The connected workers of all brokers.

    Args:
        call: runs a script.
        create: the same for what makes a namespace one that is in use.
    """

    def __init__(self, call: Call, create: Call) -> None:
        self._call = call
        self._create = create

    async def report(
        self,
        namespace: str,
        reports: Sequence[WorkerReport],
        gone: Sequence[str] = (),
        tasks: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Says which workers are there and which are no more.

        Args:
            namespace: theirs.
            reports: any number of workers that are connected.
            gone: names of any number of workers that no longer are.
            tasks: names of the tasks of every skill set in the reports.
        """
        for at in range(0, max(len(reports), len(gone)), _MAX_REPORTS):
            args: list[Argument] = [LIFETIME_US]
            some = reports[at : at + _MAX_REPORTS]
            args.append(len(some))
            for report in some:
                args += report
            left = gone[at : at + _MAX_REPORTS]
            args += (len(left), *left)
            for digest in await self._create("report_workers", namespace, args):
                names = (tasks or {}).get(digest.decode(), ())
                if names:
                    await self.teach(namespace, digest.decode(), names)

    async def teach(self, namespace: str, skills: str, names: Sequence[str]) -> None:
        """Says which tasks, at least one, belong to a skill set; forgotten where no worker with it is reported."""
        await self._create("teach_skills", namespace, [skills, _NAMES_MS, len(names), *names])

    async def count(self, namespace: str, tasks: Sequence[str]) -> list[int]:
        """How many connected workers can run each of at most 1,000 tasks."""
        if not tasks:
            return []
        counts: list[int] = await self._call("count_workers", namespace, [len(tasks), *tasks])
        return counts

    async def page(self, namespace: str, wanted: int, after: str = "") -> tuple[list[ConnectedWorker], str]:
        """Workers by name, and the name after which to go on ("" the end)."""
        names, values, _, last = await self._call("list_workers", namespace, [wanted, after])
        workers = []
        for name, value in zip(names, values, strict=True):
            skills, _, rest = value.partition(b" ")
            seen, _, info = rest.partition(b" ")
            # What another version may have written is told as far as it can be.
            seen_us = int(seen) if seen.isdigit() else 0
            workers.append(ConnectedWorker(name.decode(), skills.decode(), seen_us, info))
        return workers, last.decode()

    async def tasks_of(self, namespace: str, skills: str, most: int) -> list[str]:
        """Up to `most` names of the tasks of a skill set, in order."""
        return sorted(name.decode() for name in await self._call("skill_names", namespace, [skills, most]))
