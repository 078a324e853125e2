"""Which Redis an engine takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from dibs.broker.engine.checks import check_server
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import EngineClosed, Refused, Unavailable, UnsuitableRedis

from ..support.ports import free_port
from ..support.redis import RedisServer, running
from .conftest import MakeEngine
from .helpers import NS, TASKS, put

FIT: dict[str, Any] = {"redis_version": "8.2.2", "maxmemory_policy": "noeviction", "aof_enabled": 1}
#: A password that no log may show.
SECRET = "s3cret"


class Server:
    """Answers INFO."""

    def __init__(self, **info: Any) -> None:
        self._info = FIT | info

    async def info(self) -> dict[str, Any]:
        return self._info


async def warnings_of(caplog: pytest.LogCaptureFixture, *, allow_eviction: bool = False, **info: Any) -> str:
    with caplog.at_level(logging.WARNING):
        await check_server(Server(**info), allow_eviction=allow_eviction)  # type: ignore[arg-type]
    return caplog.text


async def test_a_fit_redis_is_taken_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    assert await warnings_of(caplog) == ""


@pytest.mark.parametrize("version", ["2.8.0", "5.0.14", "6.0.16"])
async def test_an_old_redis_is_refused(version: str) -> None:
    with pytest.raises(UnsuitableRedis, match=r"6\.2"):
        await check_server(Server(redis_version=version), allow_eviction=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["6.2.19", "7.0.15", "7.2.10", "7.4.5", "8.0.3", "8.2.1"])
async def test_known_faults_are_warned_of(caplog: pytest.LogCaptureFixture, version: str) -> None:
    assert "CVE-2025-49844" in await warnings_of(caplog, redis_version=version)


@pytest.mark.parametrize("version", ["6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.4.0", "9.0.0"])
async def test_mended_versions_are_not_warned_of(caplog: pytest.LogCaptureFixture, version: str) -> None:
    assert await warnings_of(caplog, redis_version=version) == ""


@pytest.mark.parametrize(("version", "mended"), [("8.1.3", False), ("8.1.4", True), ("9.1.2", True)])
async def test_a_valkey_is_measured_by_its_own_version(
    caplog: pytest.LogCaptureFixture, version: str, mended: bool
) -> None:
    said = await warnings_of(caplog, server_name="valkey", valkey_version=version, redis_version="7.2.4")
    assert ("CVE-2025-49844" in said) is not mended


async def test_of_other_servers_no_faults_are_known(caplog: pytest.LogCaptureFixture) -> None:
    assert await warnings_of(caplog, server_name="other", redis_version="7.2.4") == ""


async def test_missing_persistence_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert "append-only" in await warnings_of(caplog, aof_enabled=0)


@pytest.fixture
def evicting(redis_program: str) -> Iterator[RedisServer]:
    with running(redis_program, "--maxmemory-policy", "allkeys-lru") as server:
        yield server


async def test_a_redis_that_may_evict_items_is_refused(evicting: RedisServer) -> None:
    engine = Engine(EngineConfig(evicting.url))
    with pytest.raises(UnsuitableRedis, match="allkeys-lru"):
        await engine.start()
    await engine.close()


async def test_a_redis_that_may_evict_items_is_taken_when_that_is_wanted(
    make_engine: MakeEngine, evicting: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await make_engine(url=evicting.url, allow_eviction=True)
    await engine.ready()
    assert "allkeys-lru" in caplog.text


async def test_a_redis_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    engine = Engine(EngineConfig(f"unix://{tmp_path}/none.sock"))
    with pytest.raises(Unavailable):
        await engine.start()
    await engine.close()


async def test_an_engine_that_was_not_started_says_so() -> None:
    engine = Engine(EngineConfig("redis://127.0.0.1:1"))
    with pytest.raises(EngineClosed):
        await put(engine, "a")
    with pytest.raises(EngineClosed):
        await engine.ready()
    await engine.close()


async def test_an_engine_that_was_closed_says_so_and_may_be_closed_again(redis_server: RedisServer) -> None:
    engine = Engine(EngineConfig(redis_server.url))
    await engine.start()
    await put(engine, "a")
    await engine.close()
    await engine.close()
    with pytest.raises(EngineClosed):
        await put(engine, "b")
    with pytest.raises(EngineClosed):
        await engine.lease(NS, TASKS, 1)
    with redis.Redis.from_url(redis_server.url) as raw:
        # Only this client is left.
        assert len(raw.client_list()) == 1


@pytest.mark.parametrize(
    ("rights", "login", "code"),
    [
        ((), "", "Authentication required"),
        ((), "broker:wrong@", "invalid username-password"),
        (("+@all", "-info", "~*", "&*"), f"broker:{SECRET}@", "'info'"),
        (("+@all", "-evalsha", "~*", "&*"), f"broker:{SECRET}@", "'evalsha'"),
        (("+@all", "-unlink", "~*", "&*"), f"broker:{SECRET}@", ""),
        (("+@all", "~*", "resetchannels"), f"broker:{SECRET}@", "channel"),
    ],
    ids=["no password", "wrong password", "no info", "no scripts", "no writes in scripts", "no hints"],
)
async def test_a_redis_that_does_not_let_the_broker_in_is_refused_in_one_sentence(
    redis_program: str, rights: tuple[str, ...], login: str, code: str
) -> None:
    port = free_port()
    with running(redis_program, "--port", str(port)) as server, redis.Redis.from_url(server.url) as raw:
        raw.execute_command("ACL", "SETUSER", "broker", "on", f">{SECRET}", *rights)
        raw.config_set("requirepass", SECRET)
        engine = Engine(EngineConfig(f"redis://{login}127.0.0.1:{port}"))
        with pytest.raises(UnsuitableRedis, match="this Redis is not open to the broker") as refused:
            await engine.start()
        await engine.close()
        assert code in str(refused.value)
        assert SECRET not in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1


async def test_credentials_that_are_taken_away_while_it_runs_are_waited_for(
    redis_program: str,
) -> None:
    port = free_port()
    with running(redis_program, "--port", str(port)) as server, redis.Redis.from_url(server.url) as raw:
        account = ("ACL", "SETUSER", "broker", "on", f">{SECRET}", "+@all", "~*", "&*")
        raw.execute_command(*account)
        engine = Engine(EngineConfig(f"redis://broker:{SECRET}@127.0.0.1:{port}"))
        await engine.start()
        raw.execute_command("ACL", "DELUSER", "broker")
        async with asyncio.timeout(10):
            while True:
                try:
                    await engine.ready()
                except Refused:
                    break
                except Unavailable:
                    # The connection that was cut.
                    continue
        raw.execute_command(*account)
        await engine.ready()
        await engine.close()
