"""Bare stubs on several brokers: a call that fails is repeated on the next one, as any careful client does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from dibs.v1.admin_pb2_grpc import AdminServiceStub
from dibs.v1.broker_pb2_grpc import BrokerServiceStub

T = TypeVar("T")

#: A call that has not been answered by then is repeated elsewhere.
PATIENCE_S = 3.0
_PAUSE_S = 0.2
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


class Broker:
    """One broker's services.

    Args:
        address: where it is.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, _OPTIONS)
        self.items = BrokerServiceStub(self._channel)
        self.admin = AdminServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


class Brokers:
    """Several brokers, one of which is the present one. For one thread.

    Args:
        addresses: where they are.
        first: which to begin with.
    """

    def __init__(self, addresses: list[str], first: int = 0) -> None:
        self._all = [Broker(address) for address in addresses]
        self._at = first % len(self._all)

    @property
    def present(self) -> Broker:
        """The one to call now."""
        return self._all[self._at]

    def move_on(self) -> None:
        """Take the next one from now on, after a pause."""
        self._at = (self._at + 1) % len(self._all)
        time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Close the connections."""
        for broker in self._all:
            broker.close()

    def call(self, call: Callable[[Broker], T], within_s: float) -> T | None:
        """Carry a call out that is safe to repeat, on whichever broker answers.

        Args:
            call: gets a broker; is to give up after `PATIENCE_S`.
            within_s: seconds after which it is not tried again.

        Returns:
            The answer; None if there was none in time, so that the outcome is not known.

        Raises:
            grpc.RpcError: the call was refused for what it is.
        """
        end = time.monotonic() + within_s
        while True:
            try:
                return call(self.present)
            except grpc.RpcError as error:
                if not is_outage(error):
                    raise
            if time.monotonic() > end:
                return None
            self.move_on()


def is_outage(error: grpc.RpcError) -> bool:
    """Whether a call failed for a reason that passes: the broker, its Redis or the way there, or a full Redis."""
    passing = (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,  # a message that was cut off on its way
    )
    return isinstance(error, grpc.Call) and error.code() in passing
