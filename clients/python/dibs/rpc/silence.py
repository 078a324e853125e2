"""Notices that a stream without a deadline says nothing any more."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc

from ..errors import BrokerError, DeadlineExceeded
from .status import error_from_call


class FellSilent(Exception):
    """Nothing came any more, and the call was given up."""


def problem_of(error: grpc.RpcError | FellSilent, place: str) -> BrokerError:
    """What to raise for a call that ended with that error.

    Args:
        error: how it ended.
        place: where it went.
    """
    if isinstance(error, FellSilent):
        return DeadlineExceeded(f"no answer from {place} in time: nothing came any more")
    return error_from_call(error, place)


class SilenceWatch:
    """Cancels a call on which nothing has come for a while; for a ``with`` around its reading, in a thread of its own.

    Args:
        call: the call.
        seconds: how long nothing may come.

    Attributes:
        fell_silent: whether it was cancelled.
    """

    def __init__(self, call: Any, seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._over = threading.Event()
        #: Written by the reader, read by the watch.
        self._heard = time.monotonic()
        self.fell_silent = False

    def hear(self) -> None:
        """Something has come."""
        self._heard = time.monotonic()

    def __enter__(self) -> SilenceWatch:
        """Begin."""
        threading.Thread(target=self._watch, name="dibs-silence", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """The call is over."""
        self._over.set()

    def _watch(self) -> None:
        left = self._seconds
        while not self._over.wait(left):
            left = self._heard + self._seconds - time.monotonic()
            if left <= 0:
                self.fell_silent = True
                self._call.cancel()
                return
