"""What a broker takes from its clients at most; part of its settings."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from .units import Size, Span, microseconds


class Limits(BaseModel):
    """Bounds of what a request may ask for. Beyond them it is refused with INVALID_ARGUMENT, naming the field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Compared by identity: remembered checks are keyed by it, and hashing every field would cost more than checking.
    __eq__ = object.__eq__

    def __hash__(self) -> int:
        """By identity; a function of its own, since pydantic replaces object's in every class derived from this."""
        return id(self)

    max_payload_bytes: Size = Field(
        default=256 * 1024, ge=1, le=512 * 1024**2, description="Largest payload or result of one item."
    )
    max_batch_items: int = Field(
        default=1000,
        ge=1,
        le=1000,
        description="Most entries of one request; one script call takes 1000.",
    )
    max_message_bytes: Size = Field(
        default=4 * 1024**2, ge=64 * 1024, le=1024**3, description="Largest gRPC message in either direction."
    )
    max_name_length: int = Field(
        default=128, ge=1, le=1024, description="Longest name of a namespace or queue, in characters."
    )
    max_id_length: int = Field(
        default=128, ge=36, le=1024, description="Longest item or request id, in characters; made ids have 36 or less."
    )
    max_task_name_length: int = Field(default=256, ge=1, le=4096, description="Longest task name, in characters.")
    max_headers: int = Field(default=32, ge=0, le=1024, description="Most headers of one item.")
    max_headers_bytes: Size = Field(
        default=8 * 1024, ge=0, le=1024**2, description="Names and values of one item's headers together."
    )
    max_error_bytes: Size = Field(
        default=8 * 1024, ge=0, le=1024**2, description="Error texts of failed attempts are cut off here."
    )
    max_attempts: int = Field(
        default=1_000_000, ge=1, le=2**31 - 1, description="Most deliveries that an item may ask for."
    )
    max_lease_timeout: Span = Field(
        default=timedelta(days=30),
        ge=timedelta(seconds=1),
        le=timedelta(days=3650),
        description="Longest lease.",
    )
    max_delay: Span = Field(
        default=timedelta(days=366),
        ge=timedelta(0),
        le=timedelta(days=3660),
        description="Furthest that a delivery may be put off.",
    )
    max_result_ttl: Span = Field(
        default=timedelta(days=30),
        ge=timedelta(seconds=1),
        le=timedelta(days=3650),
        description="Longest time that a result is kept.",
    )
    min_schedule_interval: Span = Field(
        default=timedelta(milliseconds=10),
        ge=timedelta(milliseconds=1),
        le=timedelta(days=1),
        description="Shortest interval of a schedule.",
    )
    max_wait: Span = Field(
        default=timedelta(hours=1),
        ge=timedelta(0),
        le=timedelta(days=30),
        description="Longest time that a Lease waits for an item or a Result for an end.",
    )
    max_credit: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Most items that one Work stream may have coming at a time."
    )
    max_flush_items: int = Field(
        default=1_000_000, ge=1, le=100_000_000, description="Most tasks that one Flush waits for."
    )
    max_queues_per_lease: int = Field(
        default=1000, ge=1, le=1000, description="Most queues that one Lease or Work stream may name."
    )

    @cached_property
    def max_lease_timeout_us(self) -> int:
        """`max_lease_timeout` in microseconds."""
        return microseconds(self.max_lease_timeout)

    @cached_property
    def max_delay_us(self) -> int:
        """`max_delay` in microseconds."""
        return microseconds(self.max_delay)

    @cached_property
    def max_result_ttl_us(self) -> int:
        """`max_result_ttl` in microseconds."""
        return microseconds(self.max_result_ttl)

    @cached_property
    def min_schedule_interval_us(self) -> int:
        """`min_schedule_interval` in microseconds."""
        return microseconds(self.min_schedule_interval)

    @cached_property
    def max_wait_us(self) -> int:
        """`max_wait` in microseconds."""
        return microseconds(self.max_wait)
