"""gRPC in a program that gevent has patched.

There, what gRPC takes for threads are greenlets of one thread, and its first wait would stop them all.
"""

from __future__ import annotations

import sys

from grpc.experimental.gevent import init_gevent

_prepared: list[bool] = []


def prepare() -> None:
    """Let gRPC wait as greenlets do, if there are any. To be called before a channel is made."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and not _prepared and monkey.is_module_patched("threading"):
        init_gevent()
        _prepared.append(True)
