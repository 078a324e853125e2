"""The command `dibs` as an operator uses it, on a broker that is a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import grpc
from google.protobuf.duration_pb2 import Duration

from dibs.cli.program import program
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.v1.broker_pb2_grpc import BrokerServiceStub

from . import redis as redis_support
from .processes import Broker, running_broker


@contextlib.contextmanager
def newest_broker(programs: Mapping[int, str], *options: str) -> Iterator[Broker]:
    """A broker on the newest Redis of this machine, and nothing left of either afterwards."""
    with (
        redis_support.running(programs[max(programs)]) as redis,
        running_broker("--redis", redis.url, *options) as broker,
    ):
        yield broker


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its objects, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The error of a command with --json."""
        error: dict[str, Any] = json.loads(self.err)["error"]
        return error


def dibs(target: str, *args: str, width: int = 200) -> Said:
    """Run the command in this process, which is quicker than one of its own, with output that is no terminal.

    Its environment is a dictionary: the process's own cannot be changed while threads of gRPC read it, for C's
    getenv and setenv at once end in a segmentation fault.
    """
    out, err = io.StringIO(), io.StringIO()
    environment = os.environ | {"DIBS_TARGET": target, "COLUMNS": str(width), "TERM": "dumb"}
    with (
        mock.patch("os.environ", environment),
        mock.patch("rich.console.Console._environ", environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            program(list(args), prog_name="dibs")
        except SystemExit as ended:
            code = ended.code
        else:
            code = 0
    assert isinstance(code, int)
    return Said(code, out.getvalue(), err.getvalue())


class Command:
    """The command on one broker; `dibs` with what a test looks at first.

    Args:
        target: the broker.
    """

    def __init__(self, target: str) -> None:
        self.target = target

    def __call__(self, *args: str, code: int = 0) -> Said:
        """Run it; it must end with that code."""
        said = dibs(self.target, *args)
        assert said.code == code, (args, said)
        return said

    def json(self, *args: str, code: int = 0) -> Any:
        """The one document that it prints."""
        return self(*args, "--json", code=code).json

    def fill(self, queue: str, *ids: str, lease: str = "30s", more: tuple[str, ...] = ()) -> None:
        """Enqueue a task for each id."""
        for id in ids:
            self("enqueue", "t", "--queue", queue, "--id", id, "--args", f'["{id}"]', "--lease", lease, *more)

    def ready(self, queue: str) -> int:
        """How many items of a queue are ready."""
        [found] = self.json("queues", queue, "--sample", "0")["queues"]
        number: int = found["ready"]
        return number


class Consumer:
    """Works queues by hand."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target)
        self.stub = BrokerServiceStub(self._channel)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def lease(self, queue: str, most: int = 100, wait_s: float = 0) -> list[tpb.Delivery]:
        """Lease what is ready, of tasks."""
        request = pb.LeaseRequest(queues=[queue], kind=tpb.QUEUE_KIND_TASK, max_items=most)
        request.lease_timeout.CopyFrom(Duration(seconds=60))
        if wait_s:
            request.get_timeout.FromMicroseconds(round(wait_s * 1e6))
        return [delivery for reply in self.stub.Lease(request, timeout=20) for delivery in reply.deliveries]

    def ack(self, delivery: tpb.Delivery, result: bytes) -> None:
        """Finish one."""
        entry = pb.AckEntry(id=delivery.id, lease_token=delivery.lease_token, result=result)
        self.stub.Ack(pb.AckRequest(entries=[entry]), timeout=10)

    def fail(self, delivery: tpb.Delivery, error: str) -> None:
        """Give one up."""
        entry = pb.NackEntry(
            id=delivery.id, lease_token=delivery.lease_token, reason=pb.NACK_REASON_REJECTED, error=error
        )
        self.stub.Nack(pb.NackRequest(entries=[entry]), timeout=10)
