"""Whatever well-formed messages say, no call ends in a fault of the broker, and nothing stays behind in Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import redis
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support import processes
from ..support.extreme_messages import Messages, requests
from ..support.redis import running
from ..support.requests import GOOD, METHODS, NAMESPACE, TASK
from ..support.waiting import until

#: Calls of each method; a deeper look takes more of them.
EXAMPLES = int(os.environ.get("DIBS_FUZZ_EXAMPLES", "40"))
#: Calls that wait for something are given up after this time.
PATIENCE_S = 0.1
NAMESPACES = "dibs:namespaces"
#: What brokers keep outside of any namespace.
OWN = {b"dibs:generation"}
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNAVAILABLE)
#: What somebody waited for in a namespace that has nothing ends by itself, as `HUNGER_MS` of the scripts says.
LONGEST_MS = 2 * 3600 * 1000
#: Refused before anything was done.
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT,)


class Broker:
    """Calls one, and looks into its log and its Redis."""

    def __init__(self, process: processes.Broker, channel: grpc.Channel, raw: redis.Redis) -> None:
        self._process = process
        self._channel = channel
        self._raw = raw

    def call(self, method: str, *messages: Message, patience_s: float = PATIENCE_S) -> grpc.StatusCode:
        """How a call ended; what came is read as the contract says."""
        descriptor = METHODS[method]
        reply = GetMessageClass(descriptor.output_type).FromString
        path = f"/{descriptor.containing_service.full_name}/{method}"
        make: Any = self._channel.stream_stream if descriptor.client_streaming else self._channel.unary_stream
        argument = iter(messages) if descriptor.client_streaming else messages[0]
        try:
            for _ in make(path, type(messages[0]).SerializeToString, reply)(argument, timeout=patience_s):
                pass
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def keys(self) -> set[bytes]:
        """All keys in Redis."""
        return set(self._raw.scan_iter(count=1000))

    def complaints(self) -> list[str]:
        """Lines of its log that tell of a fault of its own."""
        return [line for line in self._process.output.splitlines() if " ERROR " in line or "Traceback" in line]

    def forget_everything(self) -> None:
        """Delete every namespace. Raises if then there are keys left that nobody removes and that do not end soon."""
        left: set[bytes] = set()

        def nothing_left() -> bool:
            # Streams that were given up leave a moment later, and tell what they had.
            for name in self._raw.sscan_iter(NAMESPACES):
                request = apb.DeleteNamespaceRequest(namespace=name.decode(), force=True)
                assert self.call("DeleteNamespace", request, patience_s=60) is grpc.StatusCode.OK
            left.clear()
            left.update(key for key in self.keys() - OWN if not 0 < self._raw.pttl(key) <= LONGEST_MS)
            return not left

        try:
            until(nothing_left, "an empty Redis")
        except AssertionError:
            raise AssertionError(f"nobody can remove {sorted(left)[:20]}") from None


@pytest.fixture(scope="module")
def running_one(redis_program: str) -> Iterator[Broker]:
    """One for all methods; at the end it still works and has complained of nothing."""
    with (
        running(redis_program) as server,
        redis.Redis.from_url(server.url) as raw,
        processes.running_broker("--redis", server.url) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        broker = Broker(process, channel, raw)
        yield broker
        assert broker.call("Enqueue", *GOOD["Enqueue"], patience_s=20) is grpc.StatusCode.OK
        assert broker.complaints() == []


@pytest.fixture
def broker(running_one: Broker) -> Iterator[Broker]:
    """Has something of everything that good requests speak of; at the end all of that and more can be taken out."""
    running_one.forget_everything()
    for method in ("RegisterTasks", "PutSchedules", "Acquire"):
        assert running_one.call(method, *GOOD[method], patience_s=20) is grpc.StatusCode.OK
    items = [_item("a"), _item("dies"), _item("waits"), _item("later", delay=Duration(seconds=3600))]
    put = pb.EnqueueRequest(namespace=NAMESPACE, items=items)
    assert running_one.call("Enqueue", put, patience_s=20) is grpc.StatusCode.OK
    # It gets the token 1, as good requests have it.
    lease = pb.LeaseRequest(namespace=NAMESPACE, queues=["q"], kind=TASK, lease_timeout=Duration(seconds=3600))
    for _ in range(2):
        assert running_one.call("Lease", lease, patience_s=20) is grpc.StatusCode.OK
    nack = pb.NackRequest(namespace=NAMESPACE, entries=[pb.NackEntry(id="dies", lease_token=2)])
    assert running_one.call("Nack", nack, patience_s=20) is grpc.StatusCode.OK
    yield running_one
    running_one.forget_everything()


def _item(id: str, **others: Any) -> pb.EnqueueItem:
    policy = tpb.DeliveryPolicy(
        attempts=1, lease_timeout=Duration(seconds=3600), use_dead_letter=True, dead_letter_queue="dead"
    )
    policy.result_ttl.FromSeconds(60)
    content = tpb.Content(task_name="task", payload=b"{}")
    return pb.EnqueueItem(id=id, queue="q", kind=TASK, content=content, policy=policy, **others)


@pytest.mark.parametrize("method", GOOD)
def test_no_message_is_a_fault_of_the_broker(broker: Broker, method: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(requests(method))
    def calls(messages: Messages) -> None:
        before = broker.keys()
        code = broker.call(method, *messages.all)
        assert code not in FAULTS, code
        assert broker.complaints() == []
        if code in REFUSED and not METHODS[method].client_streaming:
            assert sorted(broker.keys() - before) == []

    calls()
