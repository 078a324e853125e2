"""Where the broker is, as people write it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

import dibs
from dibs.rpc.connection import Connection
from dibs.rpc.targets import is_local, proxy_for, read_target

from ..support.ports import free_port


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("localhost", "localhost:7411"),
        (" localhost\n", "localhost:7411"),
        ("queue.example.org", "queue.example.org:7411"),
        ("queue.example.org:1", "queue.example.org:1"),
        ("127.0.0.1", "127.0.0.1:7411"),
        ("::1", "[::1]:7411"),
        ("[::1]", "[::1]:7411"),
        ("[::1]:65535", "[::1]:65535"),
        ("dns:host", "dns:host:7411"),
        ("dns:///host", "dns:///host:7411"),
        ("dns://8.8.8.8/host:1", "dns://8.8.8.8/host:1"),
        ("unix:/run/dibs.sock", "unix:/run/dibs.sock"),
        ("unix:///run/dibs.sock", "unix:///run/dibs.sock"),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", "ipv4:10.0.0.1:1,10.0.0.2:1"),
        ("xds:///brokers", "xds:///brokers"),
    ],
)
def test_a_host_without_a_port_has_the_usual_one(text: str, target: str) -> None:
    assert read_target(text) == (target, False)
    assert read_target(target) == (target, False)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("https://host", "host:443"),
        ("https://host/", "host:443"),
        ("https://host:7411", "host:7411"),
        ("https://[::1]:1/", "[::1]:1"),
        ("https://dns:///host:1", "dns:///host:1"),
    ],
)
def test_https_asks_for_tls(text: str, target: str) -> None:
    assert read_target(text) == (target, True)
    assert Connection.build(text, environ={}).tls
    assert not Connection.build(text, tls=False, environ={}).tls


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://host:1", "has the scheme 'http', which is none of gRPC's"),
        ("redis://host:1", "has the scheme 'redis'"),
        ("grpc://host:1", "has the scheme 'grpc'"),
        ("localhost:port", "has the port 'port', which is no number from 1 to 65,535"),
        ("localhost:0", "has the port '0'"),
        ("localhost:70000", "has the port '70000'"),
        ("localhost:", "has the port ''"),
        (":7411", "names no host"),
        ("https://", "names no host"),
        ("host/path", "names more than a host and a port"),
        ("https://host:1/path", "names more than a host and a port"),
        ("two hosts", "names more than a host and a port"),
        ("a:1:2", "has more than one port"),
        ("[::1", "has a bracket that does not close"),
        ("dns:///host:x", "has the port 'x'"),
    ],
)
def test_what_is_no_target_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"it is host:port, unix:/path, or https://host:port for TLS$") as caught:
        dibs.Dibs(text)
    assert f"the target {text!r} {said}" in str(caught.value)
    with pytest.raises(ValueError, match=r"from DIBS_TARGET has|from DIBS_TARGET names"):
        Connection.build(environ={"DIBS_TARGET": text})


@pytest.mark.parametrize(
    ("given", "environ", "place"),
    [
        (None, {}, "127.0.0.1:7411 (the default)"),
        (None, {"DIBS_TARGET": "host"}, "host:7411 (DIBS_TARGET)"),
        ("host", {"DIBS_TARGET": "host"}, "host:7411 (DIBS_TARGET)"),
        ("https://host", {}, "https://host:443"),
        (None, {"DIBS_TARGET": "https://host:1"}, "https://host:1 (DIBS_TARGET)"),
        ("host", {"DIBS_CA_FILE": "/ca"}, "https://host:7411"),
        ("other", {"DIBS_TARGET": "host"}, "other:7411"),
    ],
)
def test_a_target_knows_where_it_came_from(given: str | None, environ: dict[str, str], place: str) -> None:
    assert Connection.build(given, environ=environ).place == place


def test_an_error_names_the_target_and_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("DIBS_TARGET", f"localhost:{port}")
    with dibs.Dibs(timeout=0.2) as app, pytest.raises(dibs.Unavailable) as caught:
        app.known_tasks()
    assert str(caught.value).startswith(f"no broker answers at localhost:{port} (DIBS_TARGET): ")


def test_a_proxy_in_the_environment_does_not_capture_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with Connection.build(f"127.0.0.1:{port}").open_channel() as channel:
                grpc.channel_ready_future(channel).result(timeout=10)
        finally:
            server.stop(None).wait()
    assert ("grpc.enable_http_proxy", 0) not in Connection.build("host:1").options
    chosen = Connection.build("localhost", channel_options=[("grpc.enable_http_proxy", 1)])
    assert dict(chosen.options)["grpc.enable_http_proxy"] == 1


@pytest.mark.parametrize(
    ("target", "environ", "proxy"),
    [
        ("host:1", {}, ""),
        ("host:1", {"http_proxy": "http://user:secret@proxy:3128"}, "proxy:3128 (http_proxy)"),
        ("host:1", {"http_proxy": "http://a:1", "https_proxy": "http://b:2"}, "b:2 (https_proxy)"),
        ("host.example.org:1", {"http_proxy": "http://a:1", "no_proxy": "x, example.org"}, ""),
        ("10.1.2.3:1", {"http_proxy": "http://a:1", "no_proxy": "10.0.0.0/8"}, ""),
        ("10.1.2.3:1", {"http_proxy": "http://a:1", "no_proxy": "10.2.0.0/16"}, "a:1 (http_proxy)"),
        ("localhost:1", {"http_proxy": "http://a:1"}, ""),
        ("unix:/x", {"http_proxy": "http://a:1"}, ""),
    ],
)
def test_the_proxy_on_the_way_is_known(target: str, environ: dict[str, str], proxy: str) -> None:
    assert proxy_for(target, environ) == proxy


@pytest.mark.parametrize("target", ["unix:/x", "localhost:1", "127.1.2.3:1", "[::1]:1", "dns:///localhost:1"])
def test_what_is_on_this_machine_is_local(target: str) -> None:
    assert is_local(target)
    assert not is_local("10.0.0.1:1")
