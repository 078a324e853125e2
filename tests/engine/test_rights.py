"""The rights in Redis that docs/security.md lists: enough, none too many, and each that is missing is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import Refused, Unavailable, UnsuitableRedis

from ..support.imports import SOURCES
from ..support.ports import free_port
from ..support.redis import RedisServer, running
from ..support.redis_user import NAME, PASSWORD, denied, documented_rights, make_user
from .helpers import put

RIGHTS = documented_rights()
#: What is called outside of scripts alone.
OUTSIDE = {"ping", "info", "select", "subscribe", "pubsub|numsub", "scan", "eval", "evalsha"}


@dataclass(frozen=True)
class Guarded:
    """A Redis where the broker has a user of its own."""

    raw: Any
    port: int

    @property
    def config(self) -> EngineConfig:
        return EngineConfig(f"redis://{NAME}:{PASSWORD}@127.0.0.1:{self.port}/1", timeout_s=20.0)


@pytest.fixture(scope="module")
def server(redis_program: str) -> Iterator[tuple[RedisServer, int]]:
    port = free_port()
    with running(redis_program, "--port", str(port)) as server:
        yield server, port


@pytest.fixture
def guarded(server: tuple[RedisServer, int]) -> Iterator[Guarded]:
    server[0].flush()
    with redis.Redis.from_url(server[0].url) as raw:
        raw.execute_command("ACL", "LOG", "RESET")
        yield Guarded(raw, server[1])


def commands_of_scripts() -> set[str]:
    paths = (SOURCES / "broker/engine/lua").rglob("*.lua")
    sources = [path.read_text() for path in paths if path.name != "rights.lua"]
    return {word.lower() for source in sources for word in re.findall(r"'([A-Z]{3,})'", source)} - {
        # Words behind a command.
        "withscores",
        "limit",
        "count",
    }


def test_the_document_lists_what_scripts_use_and_so_does_the_check_at_the_start() -> None:
    listed = {word[1:] for word in RIGHTS if word.startswith("+")}
    assert listed - OUTSIDE == commands_of_scripts()
    checked = re.findall(r"(?m)^  \{'([A-Z]+)'", (SOURCES / "broker/engine/lua/rights.lua").read_text())
    assert {name.lower() for name in checked} == listed - OUTSIDE


async def test_with_all_of_them_it_works(guarded: Guarded) -> None:
    make_user(guarded.raw, RIGHTS)
    engine = Engine(guarded.config)
    await engine.start()
    await put(engine, "a")
    await engine.hints.subscribed.wait()
    await engine.close()
    # Newer clients tell Redis their name unless that is refused, which costs nothing.
    assert [what for what in denied(guarded.raw) if "client" not in what] == []
    assert not guarded.raw.keys("*rights*")


@pytest.mark.parametrize("right", [word for word in RIGHTS if word[0] in "+~&"])
async def test_each_that_is_missing_is_told_at_the_start(guarded: Guarded, right: str) -> None:
    make_user(guarded.raw, [word for word in RIGHTS if word != right])
    engine = Engine(guarded.config)
    with pytest.raises(UnsuitableRedis, match=r"^this Redis is not open to the broker: ") as refused:
        await engine.start()
    await engine.close()
    said = str(refused.value)
    kind = {"~": "key", "&": "channel"}
    assert kind.get(right[0], right[1:].partition("|")[0]) in said
    assert len(said.splitlines()) == 1
    assert PASSWORD not in said


async def test_one_that_is_taken_away_later_is_no_fault_of_the_broker(guarded: Guarded) -> None:
    make_user(guarded.raw, RIGHTS)
    engine = Engine(guarded.config)
    await engine.start()
    await put(engine, "a")
    guarded.raw.execute_command("ACL", "SETUSER", NAME, "-hset")
    with pytest.raises((Refused, Unavailable), match="does not let the broker in"):
        await put(engine, "b")
    guarded.raw.execute_command("ACL", "SETUSER", NAME, "+hset")
    await put(engine, "b")
    await engine.close()
