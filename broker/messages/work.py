"""The first message of a `Work` stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dibs.v1 import broker_pb2 as pb

from ..border.entry_counts import MOST_HELD, MOST_TASK_NAMES
from ..border.errors import InvalidField
from ..config.limits import Limits
from ..engine.types import LeaseQuery
from . import validation as check
from .delivery_policy import lease_length_us
from .enums import KIND_FROM_WIRE
from .lease import read_defaults, read_queues


@dataclass(frozen=True, slots=True)
class Hello:
    """A checked WorkHello. `task_names` empty: any task."""

    namespace: str
    query: LeaseQuery
    worker_id: str
    task_names: Sequence[str]
    received_tokens: Sequence[int]


def read_hello(request: pb.WorkRequest, limits: Limits) -> Hello:
    """Who a worker is and what it wants, from the first message of its stream."""
    if not request.HasField("hello"):
        raise InvalidField("hello", "must come in the first message of a stream")
    hello = request.hello
    if hello.ByteSize() > limits.max_hello_bytes:
        raise InvalidField("hello", f"has {hello.ByteSize()} bytes, must have at most {limits.max_hello_bytes}")
    namespace = check.namespace(hello.namespace, limits.max_name_length, "hello.namespace")
    lease_us = None
    if hello.HasField("lease_timeout"):
        lease_us = lease_length_us(hello.lease_timeout, "hello.lease_timeout", limits)
    query = LeaseQuery(
        check.choice(hello.kind, "hello.kind", KIND_FROM_WIRE),
        read_queues(hello.queues, "hello.queues", limits),
        lease_us,
        None,
        *read_defaults(hello, "hello.", limits),
    )
    check.text(hello.worker_id, "hello.worker_id", 256)
    if len(hello.task_names) > MOST_TASK_NAMES:
        raise InvalidField("hello.task_names", f"must be at most {MOST_TASK_NAMES}")
    for at, name in enumerate(hello.task_names):
        check.task_name(name, f"hello.task_names[{at}]", limits.max_task_name_length)
    if len(hello.received_tokens) > MOST_HELD:
        raise InvalidField("hello.received_tokens", f"must be at most {MOST_HELD}")
    for at, token in enumerate(hello.received_tokens):
        check.lease_token(token, f"hello.received_tokens[{at}]")
    return Hello(
        namespace, query, hello.worker_id, tuple(dict.fromkeys(hello.task_names)), tuple(hello.received_tokens)
    )
