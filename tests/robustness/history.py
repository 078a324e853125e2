"""What processes saw and did, in files: one JSON object a line, one file a process. A line that is written stays."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

#: Environment of the processes of a run: folder of the history, and who writes.
FOLDER, ROLE = "ROBUSTNESS_HISTORY", "ROBUSTNESS_ROLE"

#: Text of an ack that was not answered: it may have been carried out.
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that somebody saw or did. All processes share one machine, so that their clocks agree.

    Attributes:
        what: one of
            ``asked`` (about to enqueue), ``enqueued`` (confirmed), ``gave up`` (outcome unknown),
            ``began`` and ``ended`` (a task's function), ``delivered`` and ``acked`` (a consumer's lease),
            ``letter`` (a dead letter was taken), ``done`` (somebody waited for the result), ``state`` (what the broker
            said of the item after the run), ``forked`` (a child of a fork ended),
            ``killed``, ``fault begins``, ``fault ends`` (by the harness).
        role: who.
        pid: process.
        wall: seconds since 1970.
        mono: seconds on the machine's monotonic clock.
        uid: the item's name in its payload, whatever its id.
        kind: name of its kind.
        id: its id.
        token: of the lease; 0 where there is none, None where the client does not say.
        attempt: number of the delivery, from 1; 0 where not known.
        ok: whether it went well.
        due: seconds since 1970 before which the item must not come.
        leased_at: seconds since 1970 on Redis's clock.
        lease_s: length of the lease.
        since: on the monotonic clock, when the call began whose end this is.
        text: outcome, state or error.
    """

    what: str
    role: str = ""
    pid: int = 0
    wall: float = 0.0
    mono: float = 0.0
    uid: str = ""
    kind: str = ""
    id: str = ""
    token: int | None = None
    attempt: int = 0
    ok: bool = True
    due: float = 0.0
    leased_at: float = 0.0
    lease_s: float = 0.0
    since: float = 0.0
    text: str = ""


_DEFAULTS = {field.name: field.default for field in fields(Event)}


class Writer:
    """Appends events to this process's file. Safe in threads and after a fork: each line is one write.

    Args:
        folder: of the history.
        role: who writes.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self._folder = folder
        self._role = role
        self._file = -1
        self._pid = 0

    def __call__(self, event: Event, *, role: str = "") -> None:
        """Append an event; who, process and time are filled in.

        Args:
            event: what happened.
            role: who, if not the process as a whole.
        """
        pid = os.getpid()
        if pid != self._pid:
            path = self._folder / f"{self._role}-{pid}-{time.time_ns()}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            self._pid = pid
        full = replace(event, role=role or self._role, pid=pid, wall=time.time(), mono=time.monotonic())
        said = {name: value for name, value in asdict(full).items() if value != _DEFAULTS[name]}
        os.write(self._file, json.dumps(said, separators=(",", ":")).encode() + b"\n")


def own_writer() -> Writer:
    """The writer of a process that was started with `FOLDER` and `ROLE` in its environment."""
    return Writer(Path(os.environ[FOLDER]), os.environ[ROLE])


def read(folder: Path) -> list[Event]:
    """All events of all processes so far, by time. A line that is being written is left out."""
    return in_order(
        Event(**json.loads(line))
        for path in folder.glob("*.jsonl")
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    )


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events by time."""
    return sorted(events, key=lambda event: event.mono)


def processes_of(folder: Path, role: str) -> set[int]:
    """Processes that have written under that role."""
    return {int(path.name.removeprefix(f"{role}-").split("-")[0]) for path in folder.glob(f"{role}-*.jsonl")}


class Flags:
    """Files in a folder by which the harness tells its processes what time it is.

    Args:
        folder: of the history.
    """

    #: No more items are wanted; consumers shall stop.
    STOP_PRODUCING, STOP_CONSUMING = "stop-producing", "stop-consuming"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wave(self, name: str) -> None:
        """Raise a flag."""
        (self._folder / name).touch()

    def up(self, name: str) -> bool:
        """Whether it is raised."""
        return (self._folder / name).exists()
