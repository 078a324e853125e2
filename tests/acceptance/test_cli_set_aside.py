"""What an operator sees of items that were set aside, and does about them."""

from __future__ import annotations

import redis

from dibs.broker.engine.keys import namespace_prefix

from ..support import operating
from ..support import redis as redis_support
from ..support.operating import Consumer
from ..support.processes import running_broker

PREFIX = namespace_prefix("dibs", "default")


def dibs(target: str, *args: str) -> str:
    said = operating.dibs(target, *args)
    assert said.code == 0, said
    return said.out


def test_they_are_seen_sent_back_and_deleted(redis_programs: dict[int, str]) -> None:
    with (
        redis_support.running(redis_programs[max(redis_programs)]) as server,
        running_broker("--redis", server.url) as broker,
        redis.Redis.from_url(server.url) as raw,
    ):
        target = broker.address
        dibs(target, "known", "register", "t", "--queue", "q", "--lease", "30s", "--dead")
        for id in ("a", "b", "c"):
            dibs(target, "enqueue", "t", "--id", id)
        with Consumer(target) as consumer:
            for delivery in consumer.lease("q", 3):
                consumer.fail(delivery, "boom")
        for id in ("a", "b", "c"):
            raw.hset(PREFIX + "run", id, "of another version")
        dibs(target, "dead", "redrive", "--all")

        assert "set aside" in dibs(target, "queues", "--sample", "0").splitlines()[0]
        assert "3 item(s) of q" in dibs(target, "doctor")
        listed = dibs(target, "tasks", "q", "--section", "set-aside")
        assert listed.count("cannot be read") == 3
        assert "set aside: what is noted of its deliveries" in dibs(target, "show", "a")

        assert dibs(target, "redrive", "q", "a") == "1 item(s) sent back\n"
        assert dibs(target, "delete", "b") == "b: deleted\n"
        assert dibs(target, "redrive", "q", "--all") == "1 item(s) sent back\n"
        assert "set aside" not in dibs(target, "queues", "--sample", "0")
        assert "waiting" in dibs(target, "show", "a", "c")
