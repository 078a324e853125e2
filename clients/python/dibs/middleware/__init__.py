"""Middleware that comes with dibs, each switched on by one line: ``dibs.use(Sentry())``.

Those that are made for a library need it (``dibs[sentry]``, ``dibs[opentelemetry]``, Django), and nothing else loads
it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # ruff: isort: off
    from .connections import CloseOldConnections as CloseOldConnections
    from .context_variables import ContextVariables as ContextVariables
    from .deadlines import DeadlinePassed as DeadlinePassed, Deadlines as Deadlines, deadline as deadline
    from .sentry import Sentry as Sentry
    from .tracing import OpenTelemetry as OpenTelemetry
    from ..tasks.middleware import (
        EnqueueNext as EnqueueNext,
        EnqueueNextAsync as EnqueueNextAsync,
        RunNext as RunNext,
        RunNextAsync as RunNextAsync,
    )

#: Where each name is.
_HOMES = {
    "CloseOldConnections": "connections",
    "ContextVariables": "context_variables",
    "DeadlinePassed": "deadlines",
    "Deadlines": "deadlines",
    "OpenTelemetry": "tracing",
    "Sentry": "sentry",
    "deadline": "deadlines",
    # Types of `next`.
    **dict.fromkeys(("EnqueueNext", "EnqueueNextAsync", "RunNext", "RunNextAsync"), ".tasks.middleware"),
}

__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # who checks types finds a name that is not there

    def __getattr__(name: str) -> Any:
        """A name, when it is first used."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{home}", __name__), name)
        globals()[name] = value
        return value
