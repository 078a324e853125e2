"""Calls that must not be made twice reach the broker once, whatever is said of retries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from dibs import BrokerError, Dibs, Unavailable
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import admin_pb2_grpc

#: A service config that has gRPC repeat every call.
RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.01s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


class Failing(admin_pb2_grpc.AdminServiceServicer):
    """Counts calls. The first of each kind ends with UNAVAILABLE, since it may have been carried out; the second with
    what nobody repeats.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.take_ids: set[str] = set()

    def _fail(self, name: str, context: Any) -> None:
        self.calls[name] += 1
        if self.calls[name] == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "perhaps")
        if self.calls[name] == 2:
            context.abort(grpc.StatusCode.INTERNAL, "no more")

    def Flush(self, request: pb.FlushRequest, context: Any) -> Iterator[pb.FlushResponse]:
        self._fail("forced" if request.force_delayed else "flush", context)
        yield pb.FlushResponse()

    def RedriveDeadLetters(self, request: Any, context: Any) -> Iterator[pb.RedriveDeadLettersResponse]:
        self._fail("redrive", context)
        yield pb.RedriveDeadLettersResponse()

    def TakeDeadLetters(self, request: pb.TakeDeadLettersRequest, context: Any) -> Any:
        self.take_ids.add(request.request_id)
        self._fail("take", context)
        return pb.TakeDeadLettersResponse()


@pytest.fixture
def failing() -> Iterator[tuple[Failing, str]]:
    server = grpc.server(ThreadPoolExecutor(2))
    service = Failing()  # type: ignore[abstract]  # it needs no more
    admin_pb2_grpc.add_AdminServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_what_is_not_safe_is_called_once_and_what_has_an_id_again_under_it(failing: tuple[Failing, str]) -> None:
    service, target = failing
    # So patient that nothing but what the service says decides.
    with Dibs(target, timeout=60, try_timeout=60, channel_options=[("grpc.service_config", RETRIES)]) as app:
        dead = app.Data("DEADLETTER_QUEUE", is_dead=True)
        with pytest.raises(Unavailable):
            app.flush_tasks(force_delayed=True, timeout=0)
        with pytest.raises(Unavailable):
            dead.redrive()
        with pytest.raises(BrokerError, match="no more"):
            app.flush_tasks(timeout=0)
        with pytest.raises(BrokerError, match="no more"):
            dead.get_data()
        dead.get_data()
    assert service.calls == {"forced": 1, "redrive": 1, "flush": 2, "take": 3}
    # Of one id, also in the next call: the answer to the first may have been lost.
    assert len(service.take_ids) == 1
