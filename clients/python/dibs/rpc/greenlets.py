"""gRPC in a program that gevent has patched.

There, what gRPC takes for threads are greenlets of one thread, and its first wait would stop them all. What it does in
real threads it gives to the pool of gevent's hub.
"""

from __future__ import annotations

import sys
from typing import Any

#: The hub that gRPC was told of.
_hubs: list[Any] = []


def prepare() -> None:
    """Let gRPC wait as greenlets do, if there are any. To be called before a channel is made."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and not _hubs and monkey.is_module_patched("threading"):
        from grpc.experimental.gevent import init_gevent

        init_gevent()
        _hubs.append(sys.modules["gevent"].get_hub())


def at_rest() -> bool:
    """Whether no thread of gevent's pool is at work; while one does something for gRPC it may hold a lock there."""
    return not any(len(hub.threadpool) for hub in _hubs)
