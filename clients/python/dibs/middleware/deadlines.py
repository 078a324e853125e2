"""Deadlines that go from a request to what it enqueues, and on to what that enqueues."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..errors import DibsError
from ..rpc.times import Seconds, to_seconds
from ..tasks.context import RunningTask
from ..tasks.dispositions import Reject
from ..tasks.middleware import Middleware, OutgoingCall

_HEADER = "deadline"

#: When what is done here is to be done, in seconds since 1970; None: there is no deadline.
_deadline: ContextVar[float | None] = ContextVar("dibs_deadline", default=None)


class DeadlinePassed(DibsError, TimeoutError):
    """A call was to be enqueued after its deadline."""


@contextmanager
def deadline(seconds: Seconds) -> Iterator[None]:
    """Inside the with, what is enqueued is to begin within that time, and so is what that enqueues; see `Deadlines`.

    Inside of another deadline the earlier one holds.

    Args:
        seconds: from now; seconds or a timedelta.

    Example::

        with deadline(30):
            report.execute(7)
    """
    until = time.time() + to_seconds(seconds, "seconds")
    outer = _deadline.get()
    token = _deadline.set(until if outer is None else min(until, outer))
    try:
        yield
    finally:
        _deadline.reset(token)


class Deadlines(Middleware):
    """Carries deadlines along, and lets nothing begin after its own.

    What is enqueued inside of ``with deadline(...)`` has it in its headers, and so has what it enqueues in turn. A run
    that would begin later does not: it is rejected, without another attempt, and with a dead letter if the task asks
    for one. What runs already goes on; a time limit is another thing. `execute` raises `DeadlinePassed` when the time
    is over already.

    Clocks of programs and workers are compared: they should agree to a second.

    Example::

        dibs.use(Deadlines())
    """

    @contextmanager
    def enqueueing(self, call: OutgoingCall) -> Iterator[None]:
        """Write the deadline.

        Raises:
            DeadlinePassed: it is over.
        """
        until = _deadline.get()
        if until is not None:
            late = time.time() - until
            if late >= 0:
                raise DeadlinePassed(f"{call.task} is not enqueued: its deadline was {late:.1f} s ago")
            call.headers[_HEADER] = f"{until:.6f}"
        yield

    @contextmanager
    def running(self, task: RunningTask) -> Iterator[None]:
        """Take the deadline over, unless it has passed.

        Raises:
            Reject: it has.
        """
        until = _read(task.headers.get(_HEADER, ""))
        if until is None:
            yield
            return
        late = time.time() - until
        if late >= 0:
            raise Reject(f"the deadline was {late:.1f} s ago")
        token = _deadline.set(until)
        try:
            yield
        finally:
            _deadline.reset(token)


def _read(text: str) -> float | None:
    """A deadline from a header; None: there is none that can be read, for others may use the name."""
    try:
        return float(text)
    except ValueError:
        return None
