"""The Lua scripts: put together from their parts, loaded and called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from .connections import Argument, Pipe
from .faults import translate

#: Runs a script, by name, on a namespace with arguments; raises `EngineError`.
Call = Callable[[str, str, Sequence[Argument]], Awaitable[Any]]

_INCLUDE = re.compile(r"^--- @include (\w+)$", re.MULTILINE)

#: Scripts that take things out of Redis or settle them: they must run while Redis's memory is full.
_DRAINING = frozenset(
    {
        "ack",
        "advance",
        "arrived",
        "begun",
        "cancel",
        "clear",
        "delete",
        "delete_schedules",
        "forget_queue",
        "hasten",
        "lease",
        "lookup",
        "nack",
        "pause",
        "probe",
        "purge",
        "redrive",
        "redrive_aside",
        "refresh",
        "refresh_lock",
        "release_lock",
        "report_workers",
        "restore",
        "set_priority",
        "take_dead",
        # Small, and nobody leases by names of tasks before it.
        "teach_skills",
    }
)
#: Scripts that only grow what is stored, or change nothing.
_GROWING = frozenset(
    {
        "acquire_lock",
        "count_workers",
        "dead_queues",
        "describe_queues",
        "enqueue",
        "force_schedules",
        "get_tasks",
        "list_items",
        "list_locks",
        "list_schedules",
        "list_tasks",
        "list_workers",
        "look_schedules",
        "namespace_use",
        "peek",
        "plan_schedules",
        "put_schedules",
        "queue_names",
        "register_tasks",
        "rights",
        "skill_names",
        "snapshot",
    }
)


def assemble(name: str, *, allow_oom: str, clock: str = "clock") -> str:
    """The source of a script with its includes put in.

    Args:
        name: file name without ``.lua``.
        allow_oom: how Redis is told that the script may run while memory is full: "flag" (Redis 7 and newer read it
            from the first line), "write" (before that, a script is let through once it has written anything by a
            command that needs no memory) or "" (not at all).
        clock: include to take for ``clock``; tests take ``clock_shifted``.
    """
    lua = resources.files(__package__) / "lua"

    def include(match: re.Match[str]) -> str:
        part = clock if match[1] == "clock" else match[1]
        return (lua / "include" / f"{part}.lua").read_text()

    source = _INCLUDE.sub(include, (lua / f"{name}.lua").read_text())
    if allow_oom == "flag":
        return "#!lua flags=allow-oom\n" + source
    if allow_oom == "write":
        return "redis.call('UNLINK', KEYS[1] .. 'none')\n" + source
    return source


class Scripts:
    """Calls scripts by hash and loads them when Redis does not know them (after a restart, flush or failover).

    Attributes:
        sent_whole: how often Redis did not know a script: that call came later than others that were made after it.
    """

    def __init__(self, pipe: Pipe, channel: str, clock: str = "clock") -> None:
        self._pipe = pipe
        self._channel = channel
        self._clock = clock
        self._sources: dict[str, tuple[str, str]] = {}
        self.sent_whole = 0

    def prepare(self, redis_version: tuple[int, ...]) -> None:
        """Puts the scripts together for a version of Redis."""
        drain = "flag" if redis_version >= (7,) else "write"
        for name in _DRAINING | _GROWING:
            source = assemble(name, allow_oom=drain if name in _DRAINING else "", clock=self._clock)
            sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            self._sources[name] = (sha, source)

    async def call(self, name: str, prefix: str, namespace: str, args: Sequence[Argument]) -> Any:
        """Runs a script on a namespace; the reply is as its header says. Raises `EngineError`."""
        sha, source = self._sources[name]
        try:
            try:
                return await self._pipe.call("EVALSHA", sha, 1, prefix, namespace, self._channel, *args)
            except NoScriptError:
                self.sent_whole += 1
                return await self._pipe.call("EVAL", source, 1, prefix, namespace, self._channel, *args)
        except Exception as error:
            raise translate(error, name) from error
