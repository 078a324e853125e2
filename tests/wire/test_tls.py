"""TLS at a port: who gets in, what the others are told, and certificates that change while it is open."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dibs.broker.border.health import Health
from dibs.broker.border.tls import Tls
from dibs.broker.config.certificates import BadCertificates, CertificateFiles
from dibs.broker.config.settings import Settings
from dibs.broker.server import Server
from dibs.errors import Unavailable
from dibs.rpc.connection import Connection
from dibs.rpc.status import error_from_call
from dibs.v1 import admin_pb2, admin_pb2_grpc

from ..support.certificates import Authority, Pair, replace
from ..support.redis import running

DAY = timedelta(days=1)
LONGEST_S = 20.0
#: From one side to the other of a network, in seconds.
FAR_S = 0.08


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("the right one")


@pytest.fixture(scope="module")
def clients() -> Authority:
    return Authority("of clients")


class Clock:
    """A machine's clock that tests move."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Port:
    """An open port, its files in a folder, and clients of it."""

    def __init__(self, folder: Path, server: grpc.aio.Server) -> None:
        self.folder = folder
        self.clock = Clock()
        self.server = server

    def open(self, pair: Pair, client_ca: bytes | None) -> None:
        cert, key = pair.write(self.folder)
        ca = None if client_ca is None else replace(self.folder / "client-ca.pem", client_ca)
        self.tls = Tls(CertificateFiles(cert, key, ca), wants_client=ca is not None, now=self.clock)
        self.number = self.server.add_secure_port("127.0.0.1:0", self.tls.credentials())

    def connection(
        self, ca: bytes | None = None, pair: Pair | None = None, host: str = "localhost", tls: bool = True
    ) -> Connection:
        """Of a client that trusts `ca` and shows `pair`."""
        files: dict[str, Path] = {}
        if ca is not None:
            files["ca"] = replace(self.folder / "ca.pem", ca)
        if pair is not None:
            files["cert"], files["key"] = pair.write(self.folder, "client")
        return Connection.build(f"{host}:{self.number}", **files, tls=tls, environ={})  # type: ignore[arg-type]

    async def ask(self, connection: Connection) -> None:
        """One call on a new connection. Raises `BrokerError`."""
        async with connection.open_aio_channel() as channel:
            await call(channel, connection)


async def call(channel: grpc.aio.Channel, connection: Connection) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=LONGEST_S)
    except grpc.aio.AioRpcError as error:
        raise error_from_call(error, connection.place) from None


@asynccontextmanager
async def opened(folder: Path, pair: Pair, client_ca: bytes | None = None) -> AsyncIterator[Port]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Health(()), server)
    port = Port(folder, server)
    port.open(pair, client_ca)
    await server.start()
    try:
        yield port
    finally:
        await port.tls.close()
        await server.stop(0)


async def refusal(port: Port, connection: Connection) -> str:
    """What somebody is told who gets no connection."""
    with pytest.raises(Unavailable) as caught:
        await port.ask(connection)
    return str(caught.value)


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(public_exponent=65537, key_size=2048)],
    ids=["P-384", "RSA"],
)
async def test_whoever_trusts_the_authority_gets_in(tmp_path: Path, authority: Authority, key: Any) -> None:
    async with opened(tmp_path, authority.pair(key=key)) as port:
        await port.ask(port.connection(authority.pem))
        await port.ask(port.connection(authority.pem, host="127.0.0.1"))


async def test_a_certificate_of_another_authority_is_told_as_such(tmp_path: Path, authority: Authority) -> None:
    async with opened(tmp_path, authority.pair()) as port:
        said = await refusal(port, port.connection(Authority("the right one").pem))
        assert said == (
            f"no broker answers at https://localhost:{port.number}: its certificate is of no authority that is "
            "trusted here; DIBS_CA_FILE (--ca-file, ca=) names the file of the right one"
        )
        # Trusted are the system's authorities where none is named.
        assert "of no authority that is trusted here" in await refusal(port, port.connection())


async def test_a_certificate_that_has_expired_is_told_as_such(tmp_path: Path, authority: Authority) -> None:
    async with opened(tmp_path, authority.pair()) as port:
        port.clock.ahead = -10 * DAY
        authority.pair(ends=-DAY).write(tmp_path)
        assert await port.tls.look()
        assert (await refusal(port, port.connection(authority.pem))).endswith(": its certificate has expired")


async def test_a_certificate_for_another_host_is_told_as_such(tmp_path: Path, authority: Authority) -> None:
    async with opened(tmp_path, authority.pair("broker.example")) as port:
        said = await refusal(port, port.connection(authority.pem))
        assert said.endswith(": its certificate is for another host name")


async def test_plaintext_at_a_port_with_tls_is_told_what_may_be_the_matter(
    tmp_path: Path, authority: Authority
) -> None:
    async with opened(tmp_path, authority.pair()) as port:
        said = await refusal(port, port.connection(tls=False))
        assert said.endswith(f"localhost:{port.number}: it hung up; does it want TLS (https:// before the host)?")


async def test_tls_at_a_port_with_plaintext_is_told_as_such(tmp_path: Path, authority: Authority) -> None:
    async with opened(tmp_path, authority.pair()) as port:
        server = grpc.aio.server()
        port.number = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        said = await refusal(port, port.connection(authority.pem))
        assert said.endswith(": it speaks plaintext; leave out https:// and the files of certificates")
        await server.stop(0)


async def test_a_client_without_the_right_certificate_does_not_get_in(
    tmp_path: Path, authority: Authority, clients: Authority
) -> None:
    question = ": it hung up; does it want a client certificate (DIBS_CLIENT_CERT_FILE and DIBS_CLIENT_KEY_FILE), or "
    async with opened(tmp_path, authority.pair(), clients.pem) as port:
        await port.ask(port.connection(authority.pem, clients.pair("somebody")))
        for wrong in (None, Authority("of clients").pair(), authority.pair(), clients.pair(ends=-DAY)):
            assert question in await refusal(port, port.connection(authority.pem, wrong))


async def test_a_client_may_show_a_certificate_that_nobody_wants(
    tmp_path: Path, authority: Authority, clients: Authority
) -> None:
    async with opened(tmp_path, authority.pair()) as port:
        await port.ask(port.connection(authority.pem, clients.pair()))


@pytest.mark.parametrize(("version", "gets_in"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)])
async def test_tls_before_1_2_is_refused(
    tmp_path: Path, authority: Authority, version: ssl.TLSVersion, gets_in: bool
) -> None:
    async with opened(tmp_path, authority.pair()) as port:
        context = ssl.create_default_context(cadata=authority.pem.decode())
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.set_alpn_protocols(["h2"])
        with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):
            context.minimum_version = context.maximum_version = version
        connecting = asyncio.open_connection("localhost", port.number, ssl=context)
        if gets_in:
            _, writer = await connecting
            writer.transport.abort()
        else:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await connecting


async def test_a_broker_far_away_gets_the_time_that_a_handshake_takes(tmp_path: Path, authority: Authority) -> None:
    made: list[asyncio.Future[Any]] = []
    loop = asyncio.get_running_loop()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            loop.call_later(FAR_S, writer.write, data)
        # Behind all that is still on its way.
        await asyncio.sleep(2 * FAR_S)
        writer.close()
        await writer.wait_closed()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker = await asyncio.open_connection("127.0.0.1", port.number)
        made.append(asyncio.gather(carry(reader, broker[1]), carry(broker[0], writer), return_exceptions=True))

    async with opened(tmp_path, authority.pair()) as port:
        between = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        connection = port.connection(authority.pem)
        far = dataclasses.replace(connection, target=f"localhost:{between.sockets[0].getsockname()[1]}")
        async with far.open_aio_channel() as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=LONGEST_S, wait_for_ready=True)
        between.close()
        await asyncio.gather(*made)
        assert len(made) == 1


# Changes


async def test_new_connections_get_the_new_pair_and_open_ones_stay(tmp_path: Path, authority: Authority) -> None:
    async with opened(tmp_path, authority.pair()) as port:
        before = port.connection(authority.pem)
        async with before.open_aio_channel() as channel:
            await call(channel, before)
            successor = Authority("its successor")
            successor.pair().write(tmp_path)
            assert await port.tls.look()
            await port.ask(port.connection(successor.pem))
            assert "of no authority" in await refusal(port, port.connection(authority.pem))
            await call(channel, before)


async def test_each_of_several_addresses_gets_the_new_pair(tmp_path: Path, authority: Authority) -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Health(()), server)
    port = Port(tmp_path, server)
    port.open(authority.pair(), None)
    numbers = [port.number, server.add_secure_port("127.0.0.1:0", port.tls.credentials())]
    await server.start()
    successor = Authority("its successor")
    for number in numbers:
        port.number = number
        await port.ask(port.connection(authority.pem))
    successor.pair().write(tmp_path)
    assert await port.tls.look()
    for number in numbers:
        port.number = number
        await port.ask(port.connection(successor.pem))
    await server.stop(0)


async def test_the_authority_of_clients_can_be_changed_without_a_gap(
    tmp_path: Path, authority: Authority, clients: Authority
) -> None:
    later = Authority("of later clients")
    old, new = clients.pair(), later.pair()
    ca = tmp_path / "client-ca.pem"
    async with opened(tmp_path, authority.pair(), clients.pem) as port:
        assert "it hung up" in await refusal(port, port.connection(authority.pem, new))
        replace(ca, clients.pem + later.pem)
        assert await port.tls.look()
        await port.ask(port.connection(authority.pem, old))
        await port.ask(port.connection(authority.pem, new))
        replace(ca, later.pem)
        assert await port.tls.look()
        assert "it hung up" in await refusal(port, port.connection(authority.pem, old))
        await port.ask(port.connection(authority.pem, new))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONGEST_S):
        while not condition():  # noqa: ASYNC110  # files and threads announce nothing
            await asyncio.sleep(0.01)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if record.name in ("dibs.broker.border.tls", "dibs.broker.border.file_watch")
    ]


async def test_a_pair_that_does_not_fit_keeps_the_old_one_and_is_told_of_once(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened(tmp_path, authority.pair()) as port:
        connection = port.connection(authority.pem)
        was = port.tls.current
        caplog.clear()
        replace(tmp_path / "broker.pem", authority.pair().cert)
        for _ in range(3):
            assert not await port.tls.look()
        await port.ask(connection)
        assert port.tls.current is was
        [(level, said)] = lines(caplog)
        assert level == logging.ERROR
        assert f"broker.key is not the key of the first certificate in {tmp_path / 'broker.pem'}" in said
        assert said.endswith("; new connections get the certificates that were read before")
        assert port.tls.complaint in said

        # Another thing that is wrong with them is told of, too.
        (tmp_path / "broker.key").unlink()
        for _ in range(3):
            assert not await port.tls.look()
        assert [level for level, _ in lines(caplog)] == [logging.ERROR, logging.ERROR]

        caplog.clear()
        authority.pair().write(tmp_path)
        assert await port.tls.look()
        assert not await port.tls.look()
        [(level, over), (_, taken)] = lines(caplog)
        assert (level, over) == (
            logging.INFO,
            "the files of --tls-cert, --tls-key and --tls-client-ca: in order again",
        )
        assert taken.startswith("new connections get another TLS certificate, valid until 2")
        assert port.tls.complaint == ""


async def test_files_are_looked_at_when_told_and_what_came_of_it_is_logged(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with opened(tmp_path, authority.pair()) as port:
        port.tls.start()
        port.tls.hasten()
        unchanged = "the files of --tls-cert, --tls-key and --tls-client-ca: nothing has changed"
        await until(lambda: unchanged in [said for _, said in lines(caplog)])
        was = port.tls.current
        authority.pair().write(tmp_path)
        port.tls.hasten()
        await until(lambda: port.tls.current is not was)
        await port.ask(port.connection(authority.pem))


async def test_the_looks_go_on_whatever_a_file_has_brought_about(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dibs.broker.border.file_watch.LOOK_S", 0.01)
    async with opened(tmp_path, authority.pair()) as port:
        with monkeypatch.context() as broken:
            broken.setattr("dibs.broker.border.tls.read_certificates", lambda *_: 1 // 0)
            port.tls.start()
            await until(lambda: "ZeroDivisionError" in port.tls.complaint)
        await until(lambda: not port.tls.complaint)


async def test_files_are_looked_at_by_itself(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dibs.broker.border.file_watch.LOOK_S", 0.01)
    async with opened(tmp_path, authority.pair()) as port:
        port.tls.start()
        was = port.tls.current
        authority.pair().write(tmp_path)
        await until(lambda: port.tls.current is not was)


@pytest.mark.parametrize(
    ("ends", "client_ends", "words"),
    [
        (15 * DAY, 15 * DAY, []),
        (13.5 * DAY, 30 * DAY, ["the certificate of --tls-cert expires in 13 days, on 2"]),
        (1.5 * DAY, 30 * DAY, ["expires in 1 day, on 2"]),
        (DAY / 2, 30 * DAY, ["expires in less than a day, on 2"]),
        (30 * DAY, 5.5 * DAY, ["every certificate in --tls-client-ca expires in 5 days"]),
        (2.5 * DAY, 5.5 * DAY, ["--tls-cert expires in 2 days", " and every certificate in --tls-client-ca expires"]),
    ],
)
async def test_what_ends_within_14_days_is_spoken_of(
    tmp_path: Path, authority: Authority, ends: timedelta, client_ends: timedelta, words: list[str]
) -> None:
    cert, key = authority.pair(ends=ends).write(tmp_path)
    ca = replace(tmp_path / "ca.pem", Authority(ends=client_ends).pem)
    said = Tls(CertificateFiles(cert, key, ca)).soon()
    assert bool(said) == bool(words)
    assert all(part in said for part in words)


async def test_what_has_ended_meanwhile_is_spoken_of_and_still_used(tmp_path: Path, authority: Authority) -> None:
    async with opened(tmp_path, authority.pair(ends=DAY)) as port:
        port.clock.ahead = 2 * DAY
        assert not await port.tls.look()
        assert "has expired on 2" in port.tls.soon()
        assert "has expired on 2" in port.tls.complaint
        # By the clock of this client it is still good.
        await port.ask(port.connection(authority.pem))


# The broker as a whole


@pytest.fixture
def redis_url(redis_programs: dict[int, str]) -> Iterator[str]:
    with running(redis_programs[max(redis_programs)]) as server:
        yield server.url


async def test_every_port_of_a_broker_speaks_tls_and_its_unix_sockets_do_not(
    tmp_path: Path, authority: Authority, redis_url: str
) -> None:
    cert, key = authority.pair().write(tmp_path)
    socket = f"unix:{tmp_path / 'socket'}"
    listen = ("127.0.0.1:0", socket, "localhost:0")
    async with Server(Settings(redis=redis_url, listen=listen, tls_cert=cert, tls_key=key)) as broker:
        ca = replace(tmp_path / "ca.pem", authority.pem)
        for address in broker.addresses:
            connection = Connection.build(address, environ={}, **({} if address == socket else {"ca": ca}))  # type: ignore[arg-type]
            async with connection.open_aio_channel() as channel:
                await call(channel, connection)
            if address != socket:
                connection = Connection.build(address, environ={})
                async with connection.open_aio_channel() as channel:
                    with pytest.raises(Unavailable):
                        await call(channel, connection)


async def test_a_broker_tells_when_its_certificates_end(tmp_path: Path, authority: Authority, redis_url: str) -> None:
    cert, key = authority.pair(ends=13.5 * DAY).write(tmp_path)
    ca = replace(tmp_path / "client-ca.pem", Authority(ends=40 * DAY).pem)
    files = {"tls_cert": cert, "tls_key": key, "tls_client_ca": ca}
    socket = f"unix:{tmp_path / 'socket'}"
    async with (
        Server(Settings(redis=redis_url, listen=("127.0.0.1:0", socket), **files)) as broker,  # type: ignore[arg-type]
        grpc.aio.insecure_channel(socket) as channel,
    ):
        stub: Any = admin_pb2_grpc.AdminServiceStub(channel)
        info = await stub.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=LONGEST_S)
        now = datetime.now(UTC)
        assert abs(info.tls_expire_time.ToDatetime(UTC) - now - 13.5 * DAY) < timedelta(minutes=5)
        assert abs(info.tls_client_ca_expire_time.ToDatetime(UTC) - now - 40 * DAY) < timedelta(minutes=5)
        said = {advice.reason: advice.text for advice in info.advices}
        assert said["TLS_CERT_EXPIRES"].startswith("the certificate of --tls-cert expires in 13 days")
        assert "TLS_FILES_UNUSABLE" not in said

        replace(key, b"nonsense", 0o600)
        broker.look_at_files()
        async with asyncio.timeout(LONGEST_S):
            while "TLS_FILES_UNUSABLE" not in said:
                info = await stub.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=LONGEST_S)
                said = {advice.reason: advice.text for advice in info.advices}
        assert said["TLS_FILES_UNUSABLE"] == f"--tls-key {key} does not hold a key in PEM"


async def test_a_broker_in_plaintext_tells_of_no_certificates(redis_url: str) -> None:
    async with Server(Settings(redis=redis_url, listen=("127.0.0.1:0",))) as broker:
        broker.look_at_files()
        async with grpc.aio.insecure_channel(broker.addresses[0]) as channel:
            stub: Any = admin_pb2_grpc.AdminServiceStub(channel)
            info = await stub.GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=LONGEST_S)
    assert not info.HasField("tls_expire_time")
    assert not info.HasField("tls_client_ca_expire_time")


async def test_a_broker_does_not_start_with_files_that_do_not_serve(tmp_path: Path, authority: Authority) -> None:
    cert, key = authority.pair().write(tmp_path)
    key.chmod(0o644)
    server = Server(Settings(redis="redis://127.0.0.1:1", listen=("127.0.0.1:0",), tls_cert=cert, tls_key=key))
    with pytest.raises(BadCertificates, match="is open to others"):
        await server.start()
    assert server.addresses == ()
    await server.stop()
