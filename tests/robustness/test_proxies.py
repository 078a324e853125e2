"""The proxies misbehave as they are told to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from .proxies import Manner, Proxies, Proxy

#: A span of time in which something would have come.
_NOTHING_S = 0.3


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        with suppress(OSError), client:
            while data := client.recv(65_536):
                client.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    proxies = Proxies()
    yield proxies.before(echo)
    proxies.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """A connection over which something has gone already."""
    with closing(connect(proxy)) as client:
        assert ask(client) == b"hello"
        yield client


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 10)


def ask(client: socket.socket, timeout_s: float = 10) -> bytes:
    client.settimeout(timeout_s)
    client.sendall(b"hello")
    return client.recv(100)


def read_to_the_end(client: socket.socket) -> None:
    client.settimeout(10)
    while client.recv(100):
        pass


def is_silent(client: socket.socket) -> bool:
    try:
        ask(client, _NOTHING_S)
    except TimeoutError:
        return True
    return False


def test_a_stalled_connection_goes_on_with_everything(proxy: Proxy, client: socket.socket) -> None:
    proxy.behave(Manner.STALL)
    assert is_silent(client)
    proxy.behave(Manner.PASS)
    client.settimeout(10)
    assert client.recv(100) == b"hello"


def test_a_muted_connection_is_deaf_until_it_is_closed(proxy: Proxy, client: socket.socket) -> None:
    proxy.behave(Manner.MUTE)
    assert is_silent(client)
    proxy.behave(Manner.PASS)
    client.settimeout(10)
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with closing(connect(proxy)) as other:
        assert ask(other) == b"hello"


def test_what_is_delayed_comes_late(proxy: Proxy, client: socket.socket) -> None:
    proxy.behave(Manner.DELAY, 0.2)
    began = time.monotonic()
    assert ask(client) == b"hello"
    assert time.monotonic() - began >= 0.4


def test_a_truncated_message_ends_in_an_error(proxy: Proxy, client: socket.socket) -> None:
    proxy.truncate(0.5)
    client.sendall(b"hello")
    with pytest.raises(ConnectionResetError):
        read_to_the_end(client)


@pytest.mark.parametrize("reset", [False, True])
def test_connections_are_closed_with_and_without_an_error(proxy: Proxy, client: socket.socket, reset: bool) -> None:
    proxy.cut(reset=reset)
    client.settimeout(10)
    if reset:
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    else:
        assert client.recv(100) == b""


def test_new_connections_lead_to_another_server(proxy: Proxy, client: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        proxy.lead_to(other.getsockname()[1])
        with closing(connect(proxy)) as moved:
            moved.sendall(b"here")
            accepted, _ = other.accept()
            with accepted:
                assert accepted.recv(100) == b"here"
        assert ask(client) == b"hello"
