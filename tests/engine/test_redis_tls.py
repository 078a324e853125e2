"""TLS towards Redis: authorities, our certificate, and the host's name."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from dibs.broker.config.certificates import BadCertificates
from dibs.broker.config.redis_files import check_redis_files
from dibs.broker.config.settings import BadSettings, Settings
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import Unavailable

from ..support.certificates import Authority, replace
from ..support.ports import free_port
from ..support.redis import running
from .helpers import put


@dataclass(frozen=True)
class TlsRedis:
    """A Redis that speaks TLS and wants to see certificates."""

    port: int
    ca: Path
    cert: Path
    key: Path

    def config(self, host: str = "localhost", options: str = "", **changes: object) -> EngineConfig:
        files = {"redis_ca": str(self.ca), "redis_cert": str(self.cert), "redis_key": str(self.key)}
        return EngineConfig(f"rediss://{host}:{self.port}{options}", **{**files, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def redis(redis_programs: dict[int, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    program = redis_programs[max(redis_programs)]
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    if "libssl" not in linked:
        pytest.skip(f"{program} was built without TLS")
    folder = tmp_path_factory.mktemp("redis-tls")
    authority = Authority("of Redis")
    ca = replace(folder / "ca.pem", authority.pem)
    cert, key = authority.pair("localhost").write(folder, "redis")
    port = free_port()
    files = ("--tls-ca-cert-file", str(ca), "--tls-cert-file", str(cert), "--tls-key-file", str(key))
    with running(program, "--tls-port", str(port), *files):
        yield TlsRedis(port, ca, *authority.pair("broker").write(folder, "broker"))


async def starts(config: EngineConfig) -> bool:
    engine = Engine(config)
    try:
        await engine.start()
        await put(engine, "a")
    except Unavailable:
        return False
    finally:
        await engine.close()
        await hung_up(config)
    return True


async def hung_up(config: EngineConfig) -> None:
    """TLS takes leave before it hangs up, which goes on when everything has been closed."""
    port = urlsplit(config.redis_url).port
    async with asyncio.timeout(40):
        while any(  # noqa: ASYNC110  # sockets announce nothing
            one.raddr and one.raddr.port == port for one in psutil.Process().net_connections("tcp")
        ):
            await asyncio.sleep(0.01)


async def test_calls_and_hints_go_over_tls(redis: TlsRedis) -> None:
    engine = Engine(redis.config())
    await engine.start()
    await put(engine, "a")
    await engine.hints.subscribed.wait()
    await engine.close()
    await hung_up(redis.config())


async def test_a_redis_of_another_authority_or_host_gets_no_connection(redis: TlsRedis) -> None:
    stranger = replace(redis.ca.with_name("stranger.pem"), Authority("of Redis").pem)
    assert not await starts(redis.config(redis_ca=str(stranger)))
    # The certificate is for the name alone.
    assert not await starts(redis.config("127.0.0.1"))


async def test_a_redis_that_wants_a_certificate_gets_one(redis: TlsRedis) -> None:
    assert not await starts(redis.config(redis_cert="", redis_key=""))
    assert await starts(redis.config())


async def test_what_the_url_says_itself_goes_first(redis: TlsRedis) -> None:
    assert await starts(redis.config("127.0.0.1", "?ssl_cert_reqs=none", redis_ca=""))
    assert await starts(redis.config("127.0.0.1", "?ssl_check_hostname=false"))


def test_files_that_do_not_serve_are_refused_before_the_first_connection(tmp_path: Path) -> None:
    authority = Authority()
    cert, key = authority.pair().write(tmp_path)
    _, other = authority.pair().write(tmp_path, "other")
    ca = replace(tmp_path / "ca.pem", authority.pem)
    nonsense = replace(tmp_path / "nonsense", b"nonsense")

    check_redis_files(None, None, None)
    check_redis_files(ca, cert, key)
    with pytest.raises(BadCertificates, match=r"--redis-ca .* cannot be read: No such file"):
        check_redis_files(tmp_path / "none", None, None)
    with pytest.raises(BadCertificates, match=r"--redis-ca .*nonsense does not hold certificates in PEM"):
        check_redis_files(nonsense, None, None)
    with pytest.raises(BadCertificates, match="are no certificate and its key in PEM without a passphrase"):
        check_redis_files(ca, cert, other)
    key.chmod(0o644)
    with pytest.raises(BadCertificates, match=r"--redis-key .* is open to others"):
        check_redis_files(ca, cert, key)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"redis": "redis://h", "redis_ca": "/ca"}, "--redis must be a rediss:// URL"),
        ({"redis_ca": "/ca"}, "--redis must be a rediss:// URL"),
        ({"redis": "rediss://h", "redis_cert": "/c"}, "--redis-cert and --redis-key go together"),
    ],
)
def test_files_without_tls_are_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadSettings, match=sentence):
        Settings.load(options)
    Settings.load({"redis": "rediss://h", "redis_ca": "/ca", "redis_cert": "/c", "redis_key": "/k"})
