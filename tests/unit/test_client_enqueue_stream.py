"""An open enqueue stream and the threads inside of it."""

from __future__ import annotations

import threading
from typing import Any, cast

import grpc
import pytest

from dibs.enqueueing.stream import EnqueueStream, StreamEnded
from dibs.rpc.transport import Transport


class Call:
    """A stream whose receiver takes its time to leave after the end."""

    def __init__(self) -> None:
        self.entered, self.cancelled, self.leave = threading.Event(), threading.Event(), threading.Event()

    def __next__(self) -> object:
        self.entered.set()
        assert self.cancelled.wait(10)
        assert self.leave.wait(10)
        raise grpc.RpcError

    def cancel(self) -> None:
        self.cancelled.set()


class Channel:
    """Makes that call, and reads its requests in a thread as gRPC does."""

    def __init__(self, call: Call) -> None:
        self.generation = 0
        self._call = call

    def begin(self, _: object, requests: Any) -> Call:
        threading.Thread(target=lambda: list(requests)).start()
        return self._call


@pytest.fixture
def call() -> Call:
    return Call()


@pytest.fixture
def stream(call: Call) -> EnqueueStream:
    return EnqueueStream(cast(Transport, Channel(call)))


def test_a_fork_waits_until_whoever_receives_has_left(call: Call, stream: EnqueueStream) -> None:
    ended: list[BaseException] = []

    def receive() -> None:
        try:
            stream.receive(30)
        except grpc.RpcError as error:
            ended.append(error)

    receiver, forker = threading.Thread(target=receive), threading.Thread(target=stream.halt)
    receiver.start()
    assert call.entered.wait(10)
    forker.start()
    assert call.cancelled.wait(10)
    # A span of time, in which it would have gone on.
    forker.join(0.2)
    assert forker.is_alive()
    call.leave.set()
    forker.join(10)
    receiver.join(10)
    assert not forker.is_alive()
    assert len(ended) == 1


def test_nobody_enters_a_stream_that_was_ended(call: Call, stream: EnqueueStream) -> None:
    stream.halt()
    with pytest.raises(StreamEnded):
        stream.receive(30)
    assert not call.entered.is_set()
