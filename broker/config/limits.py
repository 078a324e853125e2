"""What a broker takes from its clients at most; part of its settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dibs.contract.heartbeats import DEFAULT
from dibs.contract.limits import CONTRACT
from dibs.contract.limits import Limits as Announced
from dibs.contract.sizes import format_size

from .units import Size, Span, format_span, microseconds


class Limits(BaseModel):
    """Bounds of what a request may ask for, and of the silence of streams: what clients are told of.

    A request beyond them is refused with INVALID_ARGUMENT, naming the field. The defaults are the numbers of the
    contract, `dibs.contract.limits` and `dibs.contract.heartbeats`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Compared by identity: remembered checks are keyed by it, and hashing every field would cost more than checking.
    __eq__ = object.__eq__

    def __hash__(self) -> int:
        """By identity; a function of its own, since pydantic replaces object's in every class derived from this."""
        return id(self)

    max_payload_bytes: Size = Field(
        default=CONTRACT.max_payload_bytes,
        ge=64,
        le=512 * 1024**2,
        description="Largest payload or result of one item.",
    )
    max_batch_items: int = Field(
        default=CONTRACT.max_batch_items,
        ge=1,
        le=1000,
        description="Most entries of one request; fewer where the reply to so many would not fit into a message.",
    )
    max_message_bytes: Size = Field(
        default=CONTRACT.max_message_bytes,
        ge=64 * 1024,
        le=1024**3,
        description="Largest gRPC message in either direction; must have room for one largest item.",
    )
    max_name_length: int = Field(
        default=CONTRACT.max_name_length,
        ge=16,
        le=1024,
        description="Longest name of a namespace or queue, in characters.",
    )
    max_id_length: int = Field(
        default=CONTRACT.max_id_length,
        ge=36,
        le=1024,
        description="Longest item or request id, in characters; made ids have 36 or less.",
    )
    max_task_name_length: int = Field(
        default=CONTRACT.max_task_name_length, ge=1, le=4096, description="Longest task name, in characters."
    )
    max_headers: int = Field(default=CONTRACT.max_headers, ge=8, le=1024, description="Most headers of one item.")
    max_headers_bytes: Size = Field(
        default=CONTRACT.max_headers_bytes,
        ge=6 * 1024,
        le=1024**2,
        description="Names and values of one item's headers together.",
    )
    max_error_bytes: Size = Field(
        default=CONTRACT.max_error_bytes,
        ge=0,
        le=1024**2,
        description="Error texts of failed attempts are cut off here.",
    )
    max_attempts: int = Field(
        default=CONTRACT.max_attempts, ge=1, le=2**31 - 1, description="Most deliveries that an item may ask for."
    )
    max_lease_timeout: Span = Field(
        default=timedelta(seconds=CONTRACT.max_lease_timeout),
        ge=timedelta(seconds=1),
        le=timedelta(days=3650),
        description="Longest lease.",
    )
    max_delay: Span = Field(
        default=timedelta(seconds=CONTRACT.max_delay),
        ge=timedelta(0),
        le=timedelta(days=3660),
        description="Furthest that a delivery may be put off.",
    )
    max_result_ttl: Span = Field(
        default=timedelta(seconds=CONTRACT.max_result_ttl),
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
        default=timedelta(seconds=CONTRACT.max_wait),
        ge=timedelta(seconds=1),
        le=timedelta(days=30),
        description="Longest time that a Lease waits for an item or a Result for an end.",
    )
    max_credit: int = Field(
        default=CONTRACT.max_credit,
        ge=1,
        le=1_000_000,
        description="Most items that one Work stream may have coming at a time.",
    )
    max_flush_items: int = Field(
        default=1_000_000, ge=1, le=100_000_000, description="Most tasks that one Flush waits for."
    )
    max_queues_per_lease: int = Field(
        default=CONTRACT.max_queues_per_lease,
        ge=1,
        le=1000,
        description="Most queues that one Lease or Work stream may name.",
    )
    max_schema_bytes: Size = Field(
        default=CONTRACT.max_schema_bytes,
        ge=0,
        le=1024**2,
        description="Longest JSON Schema of a task's arguments that a worker may register.",
    )
    heartbeat_interval: Span = Field(
        default=timedelta(seconds=DEFAULT.interval_s),
        ge=timedelta(0),
        le=timedelta(minutes=5),
        description="A stream on which there has been nothing to say for so long carries an empty message, both ways; "
        "0 switches that off.",
    )
    heartbeat_timeout: Span = Field(
        default=timedelta(seconds=DEFAULT.timeout_s),
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
        description="A stream on which nothing has come for so long is ended; at least twice the interval. Clients and "
        "workers are told of both, and keep to them.",
    )

    max_waiting_queues: int = Field(
        default=100_000,
        ge=1000,
        le=10_000_000,
        description="Most names of queues that all Lease and Work streams of this broker wait for; streams that name "
        "the same ones count once.",
    )
    max_priorities: int = Field(
        default=10_000,
        ge=10,
        le=1_000_000,
        description="Most queues of one kind in one namespace that may have a priority, used or not.",
    )
    hello_timeout: Span = Field(
        default=timedelta(seconds=10),
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=10),
        description="A Work or EnqueueStream that has not said by then what it wants is ended.",
    )
    max_hello_bytes: Size = Field(
        default=1024**2,
        ge=16 * 1024,
        le=16 * 1024**2,
        description="Largest hello of a Work stream, with the names of its queues and tasks.",
    )

    @model_validator(mode="after")
    def _an_item_fits(self) -> Self:
        """What is accepted must fit into the messages that hand it out."""
        asked = self._asked
        least = asked.item_bytes + asked.margin_bytes
        if self.max_message_bytes < least:
            raise ValueError(
                f"max_message_bytes must be at least {least}: an item with max_payload_bytes of "
                f"{format_size(self.max_payload_bytes)}, headers, names and an error text does not fit into "
                f"{format_size(self.max_message_bytes)}"
            )
        return self

    @model_validator(mode="after")
    def _a_heartbeat_may_be_lost_in_time(self) -> Self:
        """Who is late once is not silent."""
        if timedelta(0) < self.heartbeat_interval < timedelta(milliseconds=50):
            raise ValueError("heartbeat_interval must be 0 or at least 50ms")
        if self.heartbeat_timeout < 2 * self.heartbeat_interval:
            raise ValueError(
                f"heartbeat_timeout must be at least twice the heartbeat_interval of "
                f"{format_span(self.heartbeat_interval)}, not {format_span(self.heartbeat_timeout)}"
            )
        return self

    @property
    def _asked(self) -> Announced:
        return Announced(
            max_payload_bytes=self.max_payload_bytes,
            max_batch_items=self.max_batch_items,
            max_message_bytes=self.max_message_bytes,
            max_name_length=self.max_name_length,
            max_id_length=self.max_id_length,
            max_task_name_length=self.max_task_name_length,
            max_headers=self.max_headers,
            max_headers_bytes=self.max_headers_bytes,
            max_error_bytes=self.max_error_bytes,
            max_attempts=self.max_attempts,
            max_lease_timeout=self.max_lease_timeout.total_seconds(),
            max_delay=self.max_delay.total_seconds(),
            max_result_ttl=self.max_result_ttl.total_seconds(),
            max_wait=self.max_wait.total_seconds(),
            max_credit=self.max_credit,
            max_queues_per_lease=self.max_queues_per_lease,
            max_schema_bytes=self.max_schema_bytes,
        )

    @cached_property
    def announced(self) -> Announced:
        """What clients are told, and what requests are held to: no larger batches than a reply has room for."""
        asked = self._asked
        return replace(asked, max_batch_items=asked.batch_items)

    @cached_property
    def batch_items(self) -> int:
        """Entries of one request, as they are announced."""
        return self.announced.max_batch_items

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
