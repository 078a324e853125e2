"""Whether gRPC's core runs in this process: it has threads as long as there is any channel, server or call.

They are told by their names. A thread gives itself its name when it first runs, which may take a while on a busy
machine; so one that is young and not Python's counts as the core's.
"""

from __future__ import annotations

import os
import threading
import time

#: Of the present core and of earlier ones, as the kernel cuts them.
_NAMES = frozenset({"event_engine", "lifeguard", "default-executo", "resolver-execut"})
_PREFIX = "grpc_"
_TASKS = "/proc/self/task"
#: A thread without its name is older than that, in seconds, only if it is not the core's.
_YOUNG_SECONDS = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")
#: Place of the start of a thread among the fields after its name; see proc(5).
_START_FIELD = 19


def can_see() -> bool:
    """Whether this system tells the names of threads."""
    return os.path.isdir(_TASKS)


def core_is_seen() -> bool:
    """Whether there are threads by those names. Where the kernel tells no names there are none."""
    return any(_is_cores(name) for name, _ in _look()[0].values())


def core_runs() -> bool:
    """Whether there are threads by those names, or some that may yet take one."""
    threads, changed = _look()
    if changed or any(_is_cores(name) for name, _ in threads.values()):
        return True
    for thread in threading.enumerate():
        threads.pop(thread.native_id, None)
    young = time.clock_gettime(time.CLOCK_BOOTTIME) - _YOUNG_SECONDS if threads else 0.0
    return any(started > young for _, started in threads.values())


def _is_cores(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIX)


def _look() -> tuple[dict[int | None, tuple[str, float]], bool]:
    """All threads, and whether others came or went meanwhile: the last of the core's may have started another.

    Returns:
        by native id: name and start, the latter in seconds since the machine was started.
    """
    found: dict[int | None, tuple[str, float]] = {}
    ids = _ids()
    for id in ids:
        try:
            with open(f"{_TASKS}/{id}/stat", "rb") as file:
                text = file.read().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return found, True
        name, _, rest = text.partition("(")[2].rpartition(")")
        found[int(id)] = (name, int(rest.split()[_START_FIELD]) / _TICKS)
    return found, _ids() != ids


def _ids() -> set[str]:
    try:
        return set(os.listdir(_TASKS))
    except FileNotFoundError:
        return set()
