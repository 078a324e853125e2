"""Connections that are cut, reset, truncated, held up, slowed down, or carry questions and no answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from .cluster import REDIS_TIMEOUT_S, Cluster
from .expectation import STRICT, Expectation
from .faults import Fault, Happening
from .pacing import rounds
from .proxies import Manner, Proxy

#: Chooses one of the proxies on one side.
Side = Callable[[Cluster], list[Proxy]]

#: Longer than leases and timeouts of clients, and than one call to Redis may take.
_STALL_S, _MUTE_S = 5.0, 4.0
_MUTE_REDIS_S = 1.2 * REDIS_TIMEOUT_S


def _for_clients(cluster: Cluster) -> list[Proxy]:
    return [broker.for_clients for broker in cluster.brokers]


def _for_workers(cluster: Cluster) -> list[Proxy]:
    return [broker.for_workers for broker in cluster.brokers]


def _to_redis(cluster: Cluster) -> list[Proxy]:
    return [broker.to_redis for broker in cluster.brokers]


def _cut(side: Side) -> Happening:
    def cut(cluster: Cluster, seconds: float) -> None:
        """Connections are closed, again and again."""
        for _ in rounds(seconds, 0.7):
            cluster.chance.choice(side(cluster)).cut()

    return cut


def _reset(side: Side) -> Happening:
    def reset(cluster: Cluster, seconds: float) -> None:
        """Connections are reset, again and again."""
        for _ in rounds(seconds, 0.7):
            cluster.chance.choice(side(cluster)).cut(reset=True)

    return reset


def _truncate(side: Side) -> Happening:
    def truncate(cluster: Cluster, seconds: float) -> None:
        """Connections are reset in the middle of what goes over them."""
        for _ in rounds(seconds, 0.7):
            cluster.chance.choice(side(cluster)).truncate(cluster.chance.random())

    return truncate


def _stall(side: Side) -> Happening:
    def stall(cluster: Cluster, seconds: float) -> None:
        """Connections stay open and nothing goes through, for longer than leases and timeouts."""
        _behave(cluster.chance.sample(side(cluster), cluster.chance.choice((1, 2))), Manner.STALL, seconds, _STALL_S)

    return stall


def _mute(side: Side, pulse_s: float) -> Happening:
    def mute(cluster: Cluster, seconds: float) -> None:
        """Only the answers are swallowed: what was asked is carried out."""
        for _ in rounds(seconds, pulse_s + 0.7):
            _behave([cluster.chance.choice(side(cluster))], Manner.MUTE, pulse_s, pulse_s)

    return mute


def _delay(side: Side, delay_s: float) -> Happening:
    def delay(cluster: Cluster, seconds: float) -> None:
        """Everything arrives, and late."""
        for proxy in side(cluster):
            proxy.behave(Manner.DELAY, delay_s)
        time.sleep(seconds)
        for proxy in side(cluster):
            proxy.behave(Manner.PASS)

    return delay


def _behave(proxies: list[Proxy], manner: Manner, seconds: float, least_s: float) -> None:
    for proxy in proxies:
        proxy.behave(manner)
    time.sleep(max(seconds, least_s))
    for proxy in proxies:
        proxy.behave(Manner.PASS)


def _side(name: str, side: Side, expect: Expectation, slow: Expectation, mute_s: float) -> tuple[Fault, ...]:
    """The faults of one side.

    Args:
        name: of the side.
        side: its proxies.
        expect: what broken connections may cost there.
        slow: what slow ones may.
        mute_s: how long answers are swallowed at a time.
    """
    return (
        Fault(f"{name}-cut", _cut(side), expect),
        Fault(f"{name}-reset", _reset(side), expect),
        Fault(f"{name}-truncate", _truncate(side), expect),
        Fault(f"{name}-stall", _stall(side), expect),
        Fault(f"{name}-mute", _mute(side, mute_s), expect),
        Fault(f"{name}-delay", _delay(side, 0.2), slow),
    )


#: What a broken stream may have carried of items that are delivered at most once.
_ON_A_STREAM = 40
_BROKEN = Expectation(lost_once=_ON_A_STREAM, uncounted=2)
#: The last words of a Lease may get lost behind the back of its broker, for which the call has ended well.
_BROKEN_LEASE = replace(_BROKEN, unseen_data=1, because="a broker cannot know whether the end of a Lease has arrived")

NETWORK_FAULTS = (
    *_side("client", _for_clients, _BROKEN_LEASE, Expectation(lost_once=5, uncounted=1), _MUTE_S),
    *_side("worker", _for_workers, _BROKEN, STRICT, _MUTE_S),
    # Redis keeps its answers until they have arrived: nothing may be lost on this side, of either kind. A lease may end
    # before its receipt has come to Redis.
    *_side("redis", _to_redis, Expectation(uncounted=2), Expectation(uncounted=2), _MUTE_REDIS_S),
    Fault(
        "redis-slow",
        _delay(_to_redis, 0.5),
        Expectation(
            lost_once=5, uncounted=2, because="consumers give calls up that take too long, perhaps just as they end"
        ),
    ),
)
