"""The Lua scripts: put together from their parts, loaded and called."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from .connections import Argument, Pipe
from .faults import translate
from .turns import Costs

#: Runs a script, by name, on a namespace with arguments; raises `EngineError`.
Call = Callable[[str, str, Sequence[Argument]], Awaitable[Any]]
#: Is told of a script that was called: its name, seconds, and the error, if there was one.
Timed = Callable[[str, float, Exception | None], None]

_INCLUDE = re.compile(r"^--- @include (\w+)\n", re.MULTILINE)

#: Stands in a script that takes things out of Redis or settles them: it must run while Redis's memory is full.
_DRAINS = "--- @drains\n"


def names() -> list[str]:
    """All scripts, by name."""
    lua = resources.files(__package__) / "lua"
    return sorted(entry.name.removesuffix(".lua") for entry in lua.iterdir() if entry.name.endswith(".lua"))


def assemble(name: str, *, full: str, clock: str = "clock") -> str:
    """The source of a script, before it what it includes: each part once, and what a part includes before that.

    Args:
        name: file name without ``.lua``.
        full: how Redis is told of a script that it may run while memory is full: "flag" (Redis 7 and newer read it from
            the first line) or "write" (before that, a script is let through once it has written anything by a command
            that needs no memory).
        clock: include to take for ``clock``; tests take ``clock_shifted``.
    """
    lua = resources.files(__package__) / "lua"
    there: set[str] = set()

    def read(part: str) -> str:
        if part in there:
            return ""
        there.add(part)
        text = (lua / "include" / f"{clock if part == 'clock' else part}.lua").read_text()
        return "".join(map(read, _INCLUDE.findall(text))) + _INCLUDE.sub("", text)

    source = (lua / f"{name}.lua").read_text()
    drains = _DRAINS in source
    source = _INCLUDE.sub(lambda match: read(match[1]), source.replace(_DRAINS, ""))
    if drains and full == "flag":
        return "#!lua flags=allow-oom\n" + source
    if drains:
        return "redis.call('UNLINK', KEYS[1] .. 'none')\n" + source
    return source


class Scripts:
    """Calls scripts by hash and loads them when Redis does not know them (after a restart, flush or failover).

    Attributes:
        sent_whole: how often Redis did not know a script: that call came later than others that were made after it.
        timed: told of each call, if it is set: the script, the seconds that it took, and what was wrong.
    """

    def __init__(self, pipe: Pipe, channel: str, clock: str = "clock") -> None:
        self._pipe = pipe
        self._channel = channel
        self._clock = clock
        self._sources: dict[str, tuple[str, str]] = {}
        self._costs = Costs()
        self.sent_whole = 0
        self.timed: Timed | None = None

    def prepare(self, redis_version: tuple[int, ...]) -> None:
        """Put the scripts together for a version of Redis."""
        full = "flag" if redis_version >= (7,) else "write"
        for name in names():
            source = assemble(name, full=full, clock=self._clock)
            sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            self._sources[name] = (sha, source)

    async def call(self, name: str, prefix: str, namespace: str, args: Sequence[Argument]) -> Any:
        """Run a script on a namespace; the reply is as its header says. Raises `EngineError`."""
        if self.timed is None:
            return await self._run(name, prefix, namespace, args)
        began = time.perf_counter()
        failure: Exception | None = None
        try:
            return await self._run(name, prefix, namespace, args)
        except Exception as error:
            failure = error
            raise
        finally:
            self.timed(name, time.perf_counter() - began, failure)

    async def _run(self, name: str, prefix: str, namespace: str, args: Sequence[Argument]) -> Any:
        sha, source = self._sources[name]
        call, cost = self._pipe.call, self._costs.of(name, namespace, args)
        try:
            try:
                reply = await call(
                    "EVALSHA", sha, 1, prefix, namespace, self._channel, *args, tenant=namespace, cost=cost
                )
            except NoScriptError:
                self.sent_whole += 1
                reply = await call(
                    "EVAL", source, 1, prefix, namespace, self._channel, *args, tenant=namespace, cost=cost
                )
        except Exception as error:
            raise translate(error, name) from error
        self._costs.learn(name, namespace, reply)
        return reply

    def tidy(self) -> None:
        """Forgets what is known of namespaces; it is learned anew."""
        self._costs.forget()
