"""How an item is delivered, between a producer's policy and the engine's spec; and checks of what it carries."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.duration_pb2 import Duration

from dibs.contract.names import DEADLETTER_QUEUE
from dibs.v1 import types_pb2 as tpb

from ..border.errors import InvalidField
from ..config.limits import Limits
from ..engine.types import DEFAULT_MAX_CRASHES, Retry, Spec
from . import validation as check
from .enums import KIND_FROM_WIRE, duration


def delivery_policy(spec: Spec) -> tpb.DeliveryPolicy:
    """How items of a spec are delivered."""
    policy = tpb.DeliveryPolicy(attempts=spec.attempts, lease_timeout=duration(spec.lease_us))
    if spec.max_crashes != DEFAULT_MAX_CRASHES:
        policy.max_crashes = spec.max_crashes
    policy.renew = spec.renew
    if spec.expires_us:
        policy.expire_after.CopyFrom(duration(spec.expires_us))
    if spec.limit_us:
        policy.run_timeout.CopyFrom(duration(spec.limit_us))
    if spec.retry is not None:
        policy.retry.CopyFrom(retry_policy(spec.retry))
    if spec.dead_queue is not None:
        policy.use_dead_letter = True
        policy.dead_letter_queue = spec.dead_queue
    if spec.keep_us:
        policy.result_ttl.CopyFrom(duration(spec.keep_us))
    return policy


@lru_cache(maxsize=1024)
def retry_policy(retry: Retry) -> tpb.RetryPolicy:
    """A retry policy that is only ever copied from."""
    return tpb.RetryPolicy(
        initial_delay=duration(retry.initial_us),
        multiplier=retry.factor,
        max_delay=duration(retry.max_us),
        jitter=retry.jitter,
    )


#: Most processes that an item may ask to be allowed to kill.
_MOST_CRASHES = 1000
#: Shortest lease that is renewed, in microseconds; as the contract says.
_LEAST_RENEWED_US = 1_000_000


def check_content(content: tpb.Content, limits: Limits, *, is_task: bool) -> None:
    """Check what an item carries. Raises `InvalidField`."""
    if is_task:
        check.task_name(content.task_name, "content.task_name", limits.max_task_name_length)
    elif content.task_name:
        raise InvalidField("content.task_name", "must be empty for a data item")
    check.payload(content.payload, "content.payload", limits.max_payload_bytes)
    check.headers(content.headers, "content.headers", limits.max_headers, limits.max_headers_bytes)


@lru_cache(maxsize=4096)
def delivery_spec(queue: str, kind: int, policy: bytes, limits: Limits) -> str:
    """The engine's form of how an item is delivered; the same few come again and again."""
    check.name(queue, "queue", limits.max_name_length)
    read = _policy(tpb.DeliveryPolicy.FromString(policy), limits, leaves_open=kind == tpb.QUEUE_KIND_DATA)
    return Spec(check.choice(kind, "kind", KIND_FROM_WIRE), queue, *read).encode()


def _policy(
    policy: tpb.DeliveryPolicy, limits: Limits, *, leaves_open: bool
) -> tuple[int, int, Retry | None, str | None, int, int, str, bool, int, int]:
    check.integer(policy.attempts, "policy.attempts", 0, limits.max_attempts)
    lease_us = 0
    if policy.HasField("lease_timeout"):
        lease_us = lease_length_us(policy.lease_timeout, "policy.lease_timeout", limits)
    if policy.renew and lease_us < _LEAST_RENEWED_US:
        raise InvalidField("policy.renew", "needs a lease_timeout of at least 1 s")
    limit_us = 0
    if policy.HasField("run_timeout"):
        most = limits.max_lease_timeout_us
        limit_us = check.duration_us(policy.run_timeout, "policy.run_timeout", most, minimum_us=1000)
    expires_us = 0
    if policy.HasField("expire_after"):
        most = limits.max_delay_us
        expires_us = check.duration_us(policy.expire_after, "policy.expire_after", most, minimum_us=1000)
    dead_queue = None
    if policy.use_dead_letter:
        dead_queue = policy.dead_letter_queue or DEADLETTER_QUEUE
        check.name(dead_queue, "policy.dead_letter_queue", limits.max_name_length)
    elif policy.dead_letter_queue:
        raise InvalidField("policy.dead_letter_queue", "needs use_dead_letter")
    keep_us = 0
    if policy.HasField("result_ttl"):
        keep_us = check.duration_us(policy.result_ttl, "policy.result_ttl", limits.max_result_ttl_us, minimum_us=1000)
    retry = _retry(policy.retry, limits) if policy.HasField("retry") else None
    max_crashes = check.integer(policy.max_crashes, "policy.max_crashes", 0, _MOST_CRASHES) or DEFAULT_MAX_CRASHES
    left_open = ""
    if leaves_open:
        left_open = ("" if policy.attempts else "a") + ("" if policy.HasField("use_dead_letter") else "d")
    return (
        policy.attempts or 1,
        lease_us,
        retry,
        dead_queue,
        keep_us,
        max_crashes,
        left_open,
        policy.renew,
        limit_us,
        expires_us,
    )


def _retry(retry: tpb.RetryPolicy, limits: Limits) -> Retry:
    most = limits.max_delay_us
    initial = check.duration_us(retry.initial_delay, "policy.retry.initial_delay", most)
    if retry.HasField("max_delay"):
        most = check.duration_us(retry.max_delay, "policy.retry.max_delay", most)
    multiplier = check.number(retry.multiplier or 1.0, "policy.retry.multiplier", 1, 100)
    return Retry(initial, multiplier, most, check.number(retry.jitter, "policy.retry.jitter", 0, 1))


def lease_length_us(duration: Duration, field_name: str, limits: Limits) -> int:
    """0 (at most once), or 1 ms and more."""
    most = limits.max_lease_timeout_us
    return check.duration_us(duration, field_name, most, minimum_us=1000, zero_allowed=True)
