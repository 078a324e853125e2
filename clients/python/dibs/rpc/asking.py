"""Asking who is there, before another stream is opened in the place of one on which nothing came any more.

A balancer that learns only from calls which brokers are well (nginx) learns nothing from a stream that its client gives
up, and would lead the next one to the frozen broker again. A few calls that are answered at once, all at a time so that
they meet several brokers, make it pass the frozen one over.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc

from .connection import Metadata
from .rpcs import Rpc

#: Calls at a time.
_CALLS = 4
#: How long their answers are waited for, in seconds: longer than a balancer waits.
_TIMEOUT_SECONDS = 5.0


class Health:
    """The health service, as far as it is needed; its messages are empty or not looked at."""

    def __init__(self, channel: Any) -> None:
        self.Check = channel.unary_unary("/grpc.health.v1.Health/Check")


CHECK = Rpc(Health, "Check")


def ask_around(check: Any, metadata: Metadata | None) -> None:
    """Return when everybody has answered, or has had the time to; blocks.

    Args:
        check: the callable of `CHECK`.
        metadata: to send.
    """
    for call in [check.future(b"", timeout=_TIMEOUT_SECONDS, metadata=metadata) for _ in range(_CALLS)]:
        with suppress(grpc.RpcError, grpc.FutureCancelledError):
            call.result()


async def ask_around_aio(check: Any, metadata: Metadata | None) -> None:
    """As `ask_around`, for asyncio."""
    calls = [check(b"", timeout=_TIMEOUT_SECONDS, metadata=metadata) for _ in range(_CALLS)]
    # Also of a call that was cancelled with its channel there is nothing to be told.
    await asyncio.wait([asyncio.ensure_future(call.code()) for call in calls])
