"""TLS between processes: any gRPC tool, the command, workers, and certificates that change under load."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import dibs
from dibs.rpc.connection import Connection

from ..support.certificates import Authority, Pair, replace
from ..support.processes import Broker, grpcurl, run_dibs, running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker

CHECK = "grpc.health.v1.Health/Check"
#: Seconds for which pairs come one after the other while calls are made: several lives of a connection.
ROTATING_S = 3.0


@dataclass(frozen=True)
class Files:
    """A folder with what a broker and its clients need, and who signs it."""

    folder: Path
    authority: Authority
    clients: Authority

    @classmethod
    def made(cls, folder: Path) -> Files:
        files = cls(folder, Authority(), Authority("of clients"))
        replace(folder / "ca.pem", files.authority.pem)
        replace(folder / "client-ca.pem", files.clients.pem)
        files.authority.pair().write(folder)
        files.clients.pair("somebody").write(folder, "client")
        return files

    def path(self, name: str) -> str:
        return str(self.folder / name)

    @property
    def options(self) -> tuple[str, ...]:
        """Of a broker that speaks TLS."""
        return ("--tls-cert", self.path("broker.pem"), "--tls-key", self.path("broker.key"))

    @property
    def mutual(self) -> tuple[str, ...]:
        """Of a broker that wants to see certificates, too."""
        return (*self.options, "--tls-client-ca", self.path("client-ca.pem"))

    @property
    def trusting(self) -> dict[str, str]:
        """Environment of a client that trusts the broker."""
        return {"DIBS_CA_FILE": self.path("ca.pem")}

    @property
    def known(self) -> dict[str, str]:
        """Environment of a client that the broker knows, too."""
        pair = {"DIBS_CLIENT_CERT_FILE": self.path("client.pem"), "DIBS_CLIENT_KEY_FILE": self.path("client.key")}
        return {**self.trusting, **pair}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.made(tmp_path)


def test_grpcurl_calls_with_tls(files: Files) -> None:
    with running_broker(*files.options) as broker:
        done = grpcurl(broker.address, CHECK, "{}", "-cacert", files.path("ca.pem"), tls=True)
        assert json.loads(done.stdout) == {"status": "SERVING"}, done.stderr
        assert "certificate" in grpcurl(broker.address, CHECK, tls=True).stderr
        assert grpcurl(broker.address, CHECK).returncode != 0


def test_grpcurl_calls_with_a_client_certificate(files: Files) -> None:
    with running_broker(*files.mutual) as broker:
        trusting = ("-cacert", files.path("ca.pem"))
        known = ("-cert", files.path("client.pem"), "-key", files.path("client.key"))
        item = {"id": "a", "queue": "q", "kind": "QUEUE_KIND_DATA", "content": {"payload": "aGk="}}
        request = json.dumps({"items": [item]})
        put = grpcurl(broker.address, "dibs.v1.BrokerService/Enqueue", request, *trusting, *known, tls=True)
        assert json.loads(put.stdout)["items"][0]["outcome"] == "ENQUEUE_OUTCOME_CREATED", put.stderr
        assert grpcurl(broker.address, CHECK, "{}", *trusting, tls=True).returncode != 0


def test_the_command_calls_over_tls_and_says_what_is_the_matter_if_it_cannot(files: Files) -> None:
    def run(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return run_dibs(*words, "--target", f"https://{broker.address}", "--timeout", "20s", env=env)

    def complaint(env: dict[str, str]) -> str:
        # It asks once; of many attempts older releases of gRPC tell how the last one was cut off.
        failed = run("health", env=env)
        assert failed.returncode == 4
        # Beside ours there may be lines that gRPC's core writes by itself, such as of how a handshake was cut off.
        [line] = [line for line in failed.stderr.splitlines() if line.startswith("dibs: ")]
        assert line.startswith(f"dibs: no broker answers at https://{broker.address} (")
        return line

    socket = f"unix:{files.folder / 'socket'}"
    with running_broker(*files.mutual, listen=f"127.0.0.1:0,{socket}") as broker:
        # As probes do, which have no certificate.
        beside = run_dibs("health", "--no-tls", "--target", socket, env=files.trusting)
        assert (beside.stdout, beside.stderr) == ("SERVING\n", "")
        assert run("health", env=files.known).stdout == "SERVING\n"
        seen = run("doctor", env=files.known).stdout
        assert "its certificate is good for 8" in seen
        assert "the authority of clients' certificates is good for 8" in seen
        assert "it hung up; does it want a client certificate" in complaint(files.trusting)
        assert "of no authority that is trusted here" in complaint(
            {**files.known, "DIBS_CA_FILE": files.path("client-ca.pem")}
        )
        plain = run_dibs("health", "--target", broker.address)
        assert "does it want TLS (https:// before the host)?" in plain.stderr
        # Failed handshakes are no lines of the log: whoever scans ports would fill it.
        assert "ssl_transport_security" not in broker.output


def test_a_worker_runs_tasks_over_tls(files: Files, tmp_path: Path) -> None:
    with running_broker(*files.mutual) as broker:
        target = f"https://{broker.address}"
        cert, key = files.path("client.pem"), files.path("client.key")
        with dibs.Dibs(target, ca=files.path("ca.pem"), cert=cert, key=key) as app:
            quick = app.task(name="quick", save_results=60)(lambda label: None)
            with running_worker(target, tmp_path, env=files.trusting) as worker:
                worker.until_printed("it hung up; does it want a client certificate")
            with running_worker(target, tmp_path, env=files.known):
                assert quick.execute("a").get(timeout=20) != 0


def test_what_does_not_serve_is_one_sentence_and_exit_code_1(files: Files) -> None:
    Path(files.path("broker.key")).chmod(0o644)
    done = run_dibs("broker", "--listen", "127.0.0.1:0", *files.options)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line == (
        f"dibs broker: --tls-key {files.path('broker.key')} is open to others (mode 0644): "
        f"chmod 600 {files.path('broker.key')}"
    )


# Certificates that change


@pytest.fixture
def rotating(files: Files) -> Iterator[Broker]:
    """A broker whose connections live for a second at most, give or take."""
    with running_broker(*files.mutual, "--max-connection-age", "1s") as broker:
        yield broker


def served(broker: Broker, connection: Connection) -> bytes:
    """The certificate that a new connection gets now, in DER."""
    context = ssl.create_default_context(cafile=connection.ca)
    assert connection.cert is not None
    context.load_cert_chain(connection.cert, connection.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = broker.address.rpartition(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        return tls.getpeercert(binary_form=True) or b""


def test_certificates_change_under_load_without_a_failed_call(files: Files, rotating: Broker) -> None:
    target = f"https://{rotating.address}"
    connection = Connection.build(target, environ=files.known)
    over = Event()

    def on_new_connections() -> int:
        """Without a retry of anybody's."""
        made = 0
        while not over.is_set():
            with connection.open_channel() as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1
            made += 1
        return made

    def on_one_client() -> int:
        made = 0
        with dibs.Dibs(target, ca=connection.ca, cert=connection.cert, key=connection.key) as app:
            queue = dibs.Data("q", dibs=app)
            while not over.is_set():
                assert len(queue.put_data([made])) == 1
                made += 1
        return made

    def rotate(pair: Pair) -> None:
        taken = rotating.output.count("another TLS certificate")
        pair.write(files.folder)
        rotating.process.send_signal(signal.SIGHUP)
        until(lambda: rotating.output.count("another TLS certificate") > taken, "the new pair")

    def finish(work: list[Callable[[], int]]) -> list[int]:
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(one) for one in work]
            try:
                end = time.monotonic() + ROTATING_S
                while time.monotonic() < end:
                    pair = files.authority.pair()
                    rotate(pair)
                    assert served(rotating, connection) == ssl.PEM_cert_to_DER_cert(pair.cert.decode())
            finally:
                over.set()
            return [one.result() for one in running]

    made = finish([on_new_connections, on_new_connections, on_one_client, on_one_client])
    assert all(made)
