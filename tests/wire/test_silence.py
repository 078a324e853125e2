"""Connections on which nothing comes any more are given up when the documents say so, on both sides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dibs.broker.border.listening import server_options
from dibs.broker.config.settings import Settings
from dibs.rpc.connection import Connection

from ..support.processes import running_broker
from ..support.proxy import Proxy, between

#: What a busy machine and a started timer may add, in seconds.
SLACK_S = 4.0
#: The broker says nothing else, and pings a client whose own pings are far off.
LISTENS_ONLY = (("grpc.keepalive_time_ms", 3_600_000),)


def watch(channel: grpc.Channel) -> Iterator[Any]:
    """A stream that says one thing, and then nothing as long as the broker is well; returns after that."""
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its types know no methods
    states: Iterator[Any] = stub.Watch(health_pb2.HealthCheckRequest())
    next(states)
    return states


@contextmanager
def watching(target: str, options: tuple[tuple[str, Any], ...] = ()) -> Iterator[tuple[Proxy, Iterator[Any]]]:
    """A stream through a network that can be broken."""
    with between(target) as proxy:
        connection = Connection.build(proxy.target, channel_options=options)
        with connection.open_channel() as channel:
            yield proxy, watch(channel)


def seconds_until_given_up(states: Iterator[Any], breaks: Callable[[], None]) -> float:
    """How long after the network broke the stream has ended."""
    began = time.monotonic()
    breaks()
    with pytest.raises(grpc.RpcError) as broken:
        next(states)
    assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
    return time.monotonic() - began


def test_a_swallowed_connection_is_given_up_in_the_documented_times() -> None:
    with (
        running_broker() as broker,
        watching(broker.address) as (deaf, of_client),
        watching(broker.address, LISTENS_ONLY) as (mute, of_broker),
        ThreadPoolExecutor(2) as pool,
    ):
        by_client = pool.submit(seconds_until_given_up, of_client, deaf.swallow)
        by_broker = pool.submit(seconds_until_given_up, of_broker, mute.hold)
        # A ping after 20 s, and one of the broker's after 30 s; each is to be answered in 10 s.
        assert 29.0 < by_client.result() < 30.0 + SLACK_S
        assert 39.0 < by_broker.result() < 40.0 + SLACK_S


def test_the_times_of_the_broker_are_settings() -> None:
    with (
        running_broker("--keepalive-time", "1s", "--keepalive-timeout", "2s") as broker,
        watching(broker.address, LISTENS_ONLY) as (proxy, states),
    ):
        assert 1.8 < seconds_until_given_up(states, proxy.hold) < 3.0 + SLACK_S


def test_the_times_of_the_client_are_channel_options() -> None:
    options = (("grpc.keepalive_time_ms", 1_000), ("grpc.keepalive_timeout_ms", 2_000))
    with (
        running_broker("--min-ping-interval", "100ms") as broker,
        watching(broker.address, options) as (proxy, states),
    ):
        assert 1.8 < seconds_until_given_up(states, proxy.swallow) < 3.0 + SLACK_S


def test_pings_are_waited_for_as_long_as_was_asked_for_and_no_longer() -> None:
    def waits(options: Any) -> set[int]:
        told = dict(options)
        return {told["grpc.keepalive_timeout_ms"], told["grpc.http2.ping_timeout_ms"]}

    assert waits(Connection.build().options) == {10_000}
    assert waits(Connection.build(channel_options=[("grpc.keepalive_timeout_ms", 5)]).options) == {5}
    assert waits(Connection.build(channel_options=[("grpc.http2.ping_timeout_ms", 7)]).options) == {7, 10_000}
    assert waits(server_options(Settings())) == {10_000}
