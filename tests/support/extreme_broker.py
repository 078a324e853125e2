"""A broker that is called with extreme messages: what it answers, what its log says, what stays in its Redis."""

from __future__ import annotations

from typing import Any

import grpc
import redis
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .auth import bearer
from .processes import Broker
from .requests import GOOD, METHODS, NAMESPACE, TASK
from .waiting import until

#: Calls that wait for something are given up after this time.
PATIENCE_S = 0.1
NAMESPACES = "dibs:namespaces"
#: What brokers keep outside of any namespace.
OWN = {b"dibs:generation"}
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNAVAILABLE)
#: What somebody waited for in a namespace that has nothing ends by itself, as `HUNGER_MS` of the scripts says.
LONGEST_MS = 2 * 3600 * 1000


class ExtremeBroker:
    """Calls one, and looks into its log and its Redis."""

    def __init__(self, process: Broker, channel: grpc.Channel, raw: redis.Redis, principal: str = "") -> None:
        self._process = process
        self._channel = channel
        self.raw = raw
        self._metadata = bearer(principal) if principal else ()

    def by(self, principal: str) -> ExtremeBroker:
        """The same, called by somebody else."""
        return ExtremeBroker(self._process, self._channel, self.raw, principal)

    def call(self, method: str, *messages: Message, patience_s: float = PATIENCE_S) -> grpc.StatusCode:
        """How a call ended; what came is read as the contract says."""
        descriptor = METHODS[method]
        reply = GetMessageClass(descriptor.output_type).FromString
        path = f"/{descriptor.containing_service.full_name}/{method}"
        make: Any = self._channel.stream_stream if descriptor.client_streaming else self._channel.unary_stream
        argument = iter(messages) if descriptor.client_streaming else messages[0]
        try:
            for _ in make(path, type(messages[0]).SerializeToString, reply)(
                argument, timeout=patience_s, metadata=self._metadata
            ):
                pass
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def keys(self) -> set[bytes]:
        """All keys in Redis."""
        return set(self.raw.scan_iter(count=1000))

    def complaints(self) -> list[str]:
        """Lines of its log that tell of a fault of its own."""
        return [line for line in self._process.output.splitlines() if " ERROR " in line or "Traceback" in line]

    def forget_everything(self) -> None:
        """Delete every namespace. Raises if then there are keys left that nobody removes and that do not end soon."""
        left: set[bytes] = set()

        def nothing_left() -> bool:
            # Streams that were given up leave a moment later, and tell what they had.
            for name in self.raw.sscan_iter(NAMESPACES):
                request = apb.DeleteNamespaceRequest(namespace=name.decode(), force=True)
                assert self.call("DeleteNamespace", request, patience_s=60) is grpc.StatusCode.OK
            left.clear()
            left.update(key for key in self.keys() - OWN if not 0 < self.raw.pttl(key) <= LONGEST_MS)
            return not left

        try:
            until(nothing_left, "an empty Redis")
        except AssertionError:
            raise AssertionError(f"nobody can remove {sorted(left)[:20]}") from None

    def fill(self) -> None:
        """Put in something of everything that good requests speak of, and nothing else."""
        self.forget_everything()
        for method in ("RegisterTasks", "PutSchedules", "Acquire"):
            self._do(method, *GOOD[method])
        items = [_item("a"), _item("dies"), _item("waits"), _item("later", delay=Duration(seconds=3600))]
        self._do("Enqueue", pb.EnqueueRequest(namespace=NAMESPACE, items=items))
        # It gets the token 1, as good requests have it.
        lease = pb.LeaseRequest(namespace=NAMESPACE, queues=["q"], kind=TASK, lease_timeout=Duration(seconds=3600))
        for _ in range(2):
            self._do("Lease", lease)
        self._do("Nack", pb.NackRequest(namespace=NAMESPACE, entries=[pb.NackEntry(id="dies", lease_token=2)]))

    def _do(self, method: str, *messages: Message) -> None:
        assert self.call(method, *messages, patience_s=20) is grpc.StatusCode.OK, method


def _item(id: str, **others: Any) -> pb.EnqueueItem:
    policy = tpb.DeliveryPolicy(
        attempts=1, lease_timeout=Duration(seconds=3600), use_dead_letter=True, dead_letter_queue="dead"
    )
    policy.result_ttl.FromSeconds(60)
    content = tpb.Content(task_name="task", payload=b"{}")
    return pb.EnqueueItem(id=id, queue="q", kind=TASK, content=content, policy=policy, **others)
