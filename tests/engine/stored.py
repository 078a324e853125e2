"""What earlier versions left in Redis, put back there (see `fixtures/README.md`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis

from .helpers import PREFIX

FIXTURES = Path(__file__).parent / "fixtures"


def load(raw: redis.Redis, name: str) -> None:
    """Writes every key of a file of records."""
    found: dict[str, Any] = json.loads((FIXTURES / name).read_text())
    for key, entry in found.items():
        _write(raw, PREFIX + key, entry["type"], entry["value"])
        if entry["ttl_ms"] >= 0:
            raw.pexpire(PREFIX + key, entry["ttl_ms"])


def _write(raw: redis.Redis, key: str, kind: str, value: Any) -> None:
    if kind == "string":
        raw.set(key, _bytes(value))
    elif kind == "hash":
        raw.hset(key, mapping={_bytes(name): _bytes(text) for name, text in value.items()})
    elif kind == "list":
        raw.rpush(key, *map(_bytes, value))
    elif kind == "set":
        raw.sadd(key, *map(_bytes, value))
    else:
        assert kind == "zset"
        raw.zadd(key, {_bytes(name): score for name, score in value.items()})


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
