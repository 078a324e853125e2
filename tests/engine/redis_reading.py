"""What Redis holds of a namespace, read all at once, and taken apart for comparing it with the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from dibs.broker.engine.types import Kind, State

from .model_places import QueueKey
from .strategies import DEAD_QUEUES, QUEUES

#: What the letters of runs mean; all others wait.
STATES = {b"L": State.STARTED, b"O": State.STARTED, b"X": State.DEAD}


def read_namespace(raw: redis.Redis, prefix: str) -> dict[str, Any]:
    """All keys that the model knows, by their names without the prefix."""
    with raw.pipeline(transaction=False) as pipe:
        names = []
        for name, command in _reads(prefix):
            names.append(name)
            # Old releases of redis-py pair members and scores only when told so beside the command.
            options = {"withscores": True} if "WITHSCORES" in command else {}
            pipe.execute_command(*command, **options)  # type: ignore[no-untyped-call]
        return dict(zip(names, pipe.execute(), strict=True))


def _reads(prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    def read(command: str, name: str, *args: str) -> tuple[str, tuple[str, ...]]:
        return name, (command, prefix + name, *args)

    yield from (read("HGETALL", name) for name in ("item", "run", "error"))
    yield read("ZRANGE", "due", "0", "-1", "WITHSCORES")
    for kind in Kind:
        k = kind.value
        yield from (read("HGETALL", f"{name}:{k}") for name in ("stale", "seen", "done", "deaths"))
        yield from (read("SMEMBERS", f"{name}:{k}") for name in ("paused", "deadqueues"))
        yield read("ZRANGE", f"ready:{k}", "0", "-1", "WITHSCORES")
        yield read("SMEMBERS", f"hungry:{k}")
        for queue in QUEUES:
            yield read("LRANGE", f"queue:{k}:{queue}", "0", "-1")
            yield read("ZRANGE", f"delayed:{k}:{queue}", "0", "-1", "WITHSCORES")
            yield read("ZRANGE", f"expiring:{k}:{queue}", "0", "-1", "WITHSCORES")
            yield read("ZRANGE", f"leased:{k}:{queue}", "0", "-1", "WITHSCORES")
            yield read("HGETALL", f"shareids:{k}:{queue}")
            yield read("HGETALL", f"shareleft:{k}:{queue}")
        for name in DEAD_QUEUES:
            yield read("ZRANGE", f"dead:{k}:{name}", "0", "-1", "WITHSCORES")


def leases_of(
    entries: Sequence[tuple[bytes, float]], shares: dict[bytes, bytes], runs: dict[bytes, list[bytes]]
) -> dict[str, int]:
    """Ends of leases by id, in their order, those that stand together one by one."""
    found = {}
    for member, score in entries:
        if not member.startswith(b"*"):
            found[member.decode()] = int(score)
            continue
        token, deadline = member[1:].split(b".")
        for id in shares[member[1:]].split(b"\n"):
            run = runs.get(id)
            if run and run[0] in (b"L", b"O") and (run[1], run[5]) == (token, deadline):
                found[id.decode()] = int(score)
    return found


def numbers(counts: dict[bytes, bytes]) -> dict[str, int]:
    return {queue.decode(): int(count) for queue, count in counts.items() if int(count)}


def numbers_of(counts: dict[QueueKey, int], kind: Kind) -> dict[str, int]:
    return {queue: count for (of, queue), count in counts.items() if of is kind and count}
