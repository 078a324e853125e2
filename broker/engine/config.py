"""Settings of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from .quotas import QuotaTable


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Settings of the engine.

    Attributes:
        redis_url: where Redis is, in redis-py's URL form.
        redis_ca: PEM file with authorities to know a rediss:// Redis by, besides the system's; "": none.
        redis_cert: PEM file with our certificate for it; "": none.
        redis_key: PEM file with the key of that.
        key_prefix: start of every key.
        request_window_ms: how long a request id is remembered.
        once_retention_us: how long a started at-most-once item whose end matters may stay unfinished.
        task_retention_us: how long a task is known after its last registration.
        poll_interval_s: seconds between looks, without a known reason, at a namespace where somebody waits.
        idle_poll_interval_s: the same where nobody does, if longer.
        timeout_s: seconds until an unanswered Redis call fails.
        allow_eviction: work with a Redis that may evict keys.
        reply_bytes: bytes of items that one reply hands out or lists, counted as ``lua/include/weight.lua`` does.
        item_bytes: bytes of a single item that a reply still holds, alone: at least `reply_bytes`; larger ones are set
            aside.
        share_from: from how many on leases of one call stand together in Redis, which is cheaper; 0: never.
        quotas: how much namespaces may hold.
        clock: include that gives scripts the time; tests take ``clock_shifted``.
    """

    redis_url: str = field(repr=False)
    redis_ca: str = ""
    redis_cert: str = ""
    redis_key: str = ""
    key_prefix: str = "dibs"
    request_window_ms: int = 120_000
    once_retention_us: int = 86_400_000_000
    task_retention_us: int = 30 * 86_400_000_000
    poll_interval_s: float = 0.8
    idle_poll_interval_s: float = 60.0
    timeout_s: float = 2.0
    allow_eviction: bool = False
    reply_bytes: int = 3 * 1024 * 1024
    item_bytes: int = 4 * 1024 * 1024 - 8 * 1024
    share_from: int = 16
    quotas: QuotaTable = field(default_factory=QuotaTable)
    clock: str = "clock"
