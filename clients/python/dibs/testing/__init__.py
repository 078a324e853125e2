"""Testing code that enqueues tasks, with or without a broker: fixtures for pytest, and what they are made of.

``dibs_eager`` runs tasks when they are enqueued, ``dibs_recorded`` when the test says so, ``dibs_broker`` keeps them in
a real broker, and ``dibs_worker`` has a real worker run them. docs/testing.md says what each shows, and what not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # ruff: isort: off
    from .recording import Call as Call, call as call
    from .contexts import (
        eager as eager,
        on_broker as on_broker,
        private_broker as private_broker,
        recorded as recorded,
        with_worker as with_worker,
    )
    from .in_memory import Eager as Eager, Recorded as Recorded
    from .brokered import OnBroker as OnBroker
    from .working import WithWorker as WithWorker

#: Where each name is. pytest loads this package in every run, so it loads nothing before it is used.
_HOMES = {
    "Call": "recording",
    "Eager": "in_memory",
    "OnBroker": "brokered",
    "Recorded": "in_memory",
    "WithWorker": "working",
    "call": "recording",
    "eager": "contexts",
    "on_broker": "contexts",
    "private_broker": "contexts",
    "recorded": "contexts",
    "with_worker": "contexts",
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
