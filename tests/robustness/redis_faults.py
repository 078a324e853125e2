"""What happens to Redis itself: lost scripts, lost connections, no memory, no disk, another primary."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from .cluster import Cluster, until
from .expectation import Expectation
from .faults import Fault, Happening
from .pacing import rounds
from .processes import RedisProcess
from .proxies import Manner


def script_flush(cluster: Cluster, seconds: float) -> None:
    """Redis forgets its scripts, again and again."""
    with cluster.redis.client() as client:
        for _ in rounds(seconds, 0.3):
            client.script_flush()


def client_kill(cluster: Cluster, seconds: float) -> None:
    """Redis closes the connections of brokers, again and again."""
    with cluster.redis.client() as client:
        for _ in rounds(seconds, 0.7):
            client.execute_command(
                "CLIENT", "KILL", "TYPE", cluster.chance.choice(("normal", "pubsub")), "SKIPME", "yes"
            )


def max_memory(cluster: Cluster, seconds: float) -> None:
    """Redis may take no more memory than it has taken: nothing can be put in, the rest drains."""
    with cluster.redis.client() as client:
        client.config_set("maxmemory", 1)
        time.sleep(seconds)
        client.config_set("maxmemory", 0)


def full_disk(cluster: Cluster, seconds: float) -> None:
    """Redis's disk is full: it ends, as it must with appendfsync always, and is started when there is room again."""
    data = cluster.redis.data
    ballast = data / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65_536)
    until(lambda: not cluster.redis.alive(), "Redis has noticed its full disk")
    cluster.redis.deaths.clear()
    time.sleep(seconds / 2)
    ballast.unlink()
    cluster.redis.start_and_wait()


def _by_replicaof(old: RedisProcess, new: RedisProcess) -> None:
    """Let the replica catch up, then exchange the roles."""
    with old.client() as was, new.client() as will_be:
        until(
            lambda: was.info("replication")["master_repl_offset"] == will_be.info("replication")["slave_repl_offset"],
            "the replica has all",
        )
        will_be.execute_command("REPLICAOF", "NO", "ONE")
        was.execute_command("REPLICAOF", "127.0.0.1", new.port)


def _by_failover(old: RedisProcess, new: RedisProcess) -> None:
    """Have Redis do it."""
    with old.client() as was, new.client() as will_be:
        was.execute_command("FAILOVER")
        until(lambda: will_be.info("replication")["role"] == "master", "the replica has become the primary")


def _failover(exchange: Callable[[RedisProcess, RedisProcess], None], *, cut: bool, still: bool) -> Happening:
    """A failover.

    Args:
        exchange: what makes the replica the primary.
        cut: connections to the old primary are closed; without, they stay: brokers move by themselves.
        still: nothing reaches Redis meanwhile, so that the replica has everything.
    """

    def failover(cluster: Cluster, seconds: float) -> None:
        """Another Redis becomes the primary, and the address leads to it."""
        old, new = cluster.redis, cluster.replica
        assert new is not None
        ways = [broker.to_redis for broker in cluster.brokers]
        if still:
            for way in ways:
                way.behave(Manner.STALL)
        exchange(old, new)
        for way in ways:
            way.lead_to(new.port)
            if cut:
                way.cut()
            way.behave(Manner.PASS)
        time.sleep(seconds)

    return failover


REDIS_FAULTS = (
    Fault("script-flush", script_flush),
    Fault("client-kill", client_kill, Expectation(uncounted=1)),
    Fault("maxmemory", max_memory),
    Fault("full-disk", full_disk, Expectation(uncounted=2), small_disk=True),
    Fault("replicaof-cut", _failover(_by_replicaof, cut=True, still=True), Expectation(uncounted=2), replica=True),
    Fault("replicaof-kept", _failover(_by_replicaof, cut=False, still=True), Expectation(uncounted=2), replica=True),
    Fault("failover-cut", _failover(_by_failover, cut=True, still=False), Expectation(uncounted=2), replica=True),
    Fault("failover-kept", _failover(_by_failover, cut=False, still=False), Expectation(uncounted=2), replica=True),
)
