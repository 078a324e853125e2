"""Blocking callers: how many round trips a number of threads make in a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import grpc

from .echo import STREAM, UNARY


def rate(call: Callable[[], object], threads: int, seconds: float = 2.0) -> float:
    """How many calls a second all threads make together, after a short warm-up."""
    counts = [0] * threads
    begin, end = threading.Barrier(threads + 1), threading.Event()

    def work(number: int) -> None:
        for _ in range(20):
            call()
        begin.wait()
        while not end.is_set():
            call()
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    begin.wait()
    started = time.perf_counter()
    time.sleep(seconds)
    end.set()
    took = time.perf_counter() - started
    total = sum(counts)
    for worker in workers:
        worker.join()
    return total / took


def unary_echo(channel: grpc.Channel, size: int) -> Callable[[], object]:
    """One blocking unary round trip."""
    method: Any = channel.unary_unary(UNARY)
    payload = b"x" * size
    return lambda: method(payload)


def stream_echo(channel: grpc.Channel, size: int) -> Callable[[], object]:
    """One message back and forth on an open stream; for one thread."""
    requests: SimpleQueue[bytes] = SimpleQueue()

    def outgoing() -> Iterator[bytes]:
        while True:
            yield requests.get()

    replies: Any = channel.stream_stream(STREAM)(outgoing())
    payload = b"x" * size

    def call() -> object:
        requests.put(payload)
        return next(replies)

    return call
