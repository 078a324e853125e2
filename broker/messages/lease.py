"""`Lease`: what a consumer asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dibs.v1 import broker_pb2 as pb

from ..border.errors import InvalidField
from ..config.limits import Limits
from ..engine.types import LeaseQuery
from . import validation as check
from .delivery_policy import lease_length_us
from .enums import KIND_FROM_WIRE


@dataclass(frozen=True, slots=True)
class LeaseCall:
    """A checked LeaseRequest. `timeout_s` None: wait for ever."""

    namespace: str
    query: LeaseQuery
    max_items: int
    timeout_s: float | None
    peek: bool
    follow: bool
    heartbeats: bool


def read_lease(request: pb.LeaseRequest, limits: Limits) -> LeaseCall:
    """A LeaseRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    most = 2**31 - 1 if request.follow else limits.max_batch_items
    check.integer(request.max_items, "max_items", 0, most, limit="max_batch_items")
    if request.peek and request.follow:
        raise InvalidField("peek", "does not go with follow")
    if request.peek and request.heartbeats:
        raise InvalidField("heartbeats", "does not go with peek")
    check.integer(request.attempts, "attempts", 0, limits.max_attempts)
    timeout_s: float | None = None if request.follow else 0.0
    if request.HasField("get_timeout"):
        timeout_s = check.wait_us(request.get_timeout, "get_timeout", limits.max_wait_us) / 1e6
    lease_us = None
    if request.HasField("lease_timeout"):
        lease_us = lease_length_us(request.lease_timeout, "lease_timeout", limits)
    query = LeaseQuery(
        check.choice(request.kind, "kind", KIND_FROM_WIRE),
        read_queues(request.queues, "queues", limits),
        lease_us,
        request.attempts or None,
        *read_defaults(request, "", limits),
    )
    return LeaseCall(
        namespace,
        query,
        request.max_items or 1,
        timeout_s,
        peek=request.peek,
        follow=request.follow,
        heartbeats=request.heartbeats,
    )


def read_defaults(found: pb.LeaseRequest | pb.WorkHello, path: str, limits: Limits) -> tuple[int | None, str | None]:
    """Attempts and dead-letter queue for items whose producers left them open."""
    attempts = check.integer(found.default_attempts, f"{path}default_attempts", 0, limits.max_attempts)
    dead_queue = found.default_dead_letter_queue
    if dead_queue:
        check.name(dead_queue, f"{path}default_dead_letter_queue", limits.max_name_length)
    return attempts or None, dead_queue or None


def read_queues(names: Sequence[str], field_name: str, limits: Limits) -> tuple[str, ...]:
    """Names of the queues that are wanted, each once."""
    if len(names) > limits.max_queues_per_lease:
        most = limits.max_queues_per_lease
        raise InvalidField(field_name, f"must be at most {most}", ("max_queues_per_lease", most))
    # Each once: the first place counts.
    queues = tuple(dict.fromkeys(names))
    for at, name in enumerate(queues):
        check.name(name, f"{field_name}[{at}]", limits.max_name_length)
    return queues
