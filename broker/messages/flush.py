"""`Flush`: what to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dibs.v1 import admin_pb2 as pb

from ..config.limits import Limits
from . import validation as check
from .queues import read_names

_LONGEST_FLUSH_US = 30 * 86_400_000_000
_SHORTEST_REPORT_US, _DEFAULT_REPORT_US, _LONGEST_REPORT_US = 100_000, 10_000_000, 3_600_000_000


@dataclass(frozen=True, slots=True)
class FlushCall:
    """A checked FlushRequest. `timeout_s` None: as long as it takes."""

    namespace: str
    queues: Sequence[str]
    complete: bool
    force_delayed: bool
    wait_on_hidden: bool
    timeout_s: float | None
    report_interval_s: float


def read_flush(request: pb.FlushRequest, limits: Limits) -> FlushCall:
    """A FlushRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    queues = read_names(request.queues, "queues", limits)
    timeout_s = None
    if request.HasField("timeout"):
        timeout_s = check.duration_us(request.timeout, "timeout", _LONGEST_FLUSH_US) / 1e6
    interval_us = _DEFAULT_REPORT_US
    if request.HasField("report_interval"):
        interval_us = check.duration_us(
            request.report_interval, "report_interval", _LONGEST_REPORT_US, minimum_us=_SHORTEST_REPORT_US
        )
    return FlushCall(
        namespace,
        queues,
        request.complete,
        request.force_delayed,
        request.wait_on_hidden,
        timeout_s,
        interval_us / 1e6,
    )
