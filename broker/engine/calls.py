"""Calls to Redis, of scripts and of single commands, while the engine is open."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from . import keys
from .config import EngineConfig
from .connections import Argument, Pipe, connect, tls_options
from .errors import EngineClosed, EngineNotStarted
from .faults import translate
from .peers import FORMAT
from .scripts import Scripts, Timed

#: Items that one script call handles at most (Lua's unpack and Redis's patience have limits).
MAX_BATCH = 1000
#: Bytes of bodies and results that count as much as one item when calls are gathered into one script call: small
#: items fill it by number, large ones at 4 MiB, so that no call holds Redis up for long.
WEIGHED_BYTES = 4 * 1024 * 1024 // MAX_BATCH


#: Namespaces whose calls take turns within this time share the broker.
_SHARED_S = 0.1


class Calls:
    """The innermost part of an engine (see ``engine.py``): its connections, and what goes down them.

    Args:
        config: its settings.
        on_elsewhere: told when the address may lead to another Redis by now.
    """

    def __init__(self, config: EngineConfig, on_elsewhere: Callable[[], None]) -> None:
        self.config = config
        tls = tls_options(config.redis_ca, config.redis_cert, config.redis_key)
        self._pipe = Pipe(
            config.redis_url,
            connect_timeout_s=config.timeout_s,
            timeout_s=config.timeout_s,
            tls=tls,
            on_elsewhere=on_elsewhere,
        )
        # For subscriptions, which wait for ever.
        self._client = connect(config.redis_url, connect_timeout_s=config.timeout_s, tls=tls)
        #: Of hints, and of the format that this engine knows.
        self._channels = keys.hints_channel(config.key_prefix), keys.format_channel(config.key_prefix, FORMAT)
        self._scripts = Scripts(self._pipe, self._channels[0], config.clock)
        self._open = False
        self._closed = False
        #: Of the last call, and when one came that was of another than the one before.
        self._last_namespace = ""
        self._changed_at = -math.inf

    def is_shared(self) -> bool:
        """Whether calls of more than one namespace have come in the last moments."""
        return time.monotonic() - self._changed_at < _SHARED_S

    def time_scripts(self, timed: Timed) -> None:
        """Have each call of a script told: its name, the seconds that it took, and what was wrong."""
        self._scripts.timed = timed

    @property
    def connects(self) -> int:
        """How often a connection for calls was made to Redis."""
        return self._pipe.connects

    async def _call(self, script: str, namespace: str, args: Sequence[Argument]) -> Any:
        self._check_open(script)
        if namespace != self._last_namespace:
            self._last_namespace = namespace
            self._changed_at = time.monotonic()
        return await self._scripts.call(
            script, keys.namespace_prefix(self.config.key_prefix, namespace), namespace, args
        )

    async def _command(self, *words: Argument) -> Any:
        self._check_open("command")
        async with self._translated(str(words[0])):
            return await self._pipe.call(*words)

    def _check_open(self, operation: str) -> None:
        if not self._open:
            if self._closed:
                raise EngineClosed(f"{operation}: the engine is closed")
            raise EngineNotStarted(f"{operation}: the engine has not been started")

    @staticmethod
    @asynccontextmanager
    async def _translated(operation: str) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            raise translate(error, operation) from error
