"""A network between a client and a server that tests can break."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards TCP connections to a server, from threads.

    Args:
        target: the server, host:port or unix:path.

    Attributes:
        target: where clients connect.
        swallowed: set when it has swallowed something of the server's.
        held: set when it has held up something of a client's.
    """

    def __init__(self, target: str) -> None:
        self._server = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.swallowed = threading.Event()
        self.held = threading.Event()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        #: Clients that hear nothing, and those of whom nothing is heard.
        self._deaf: list[socket.socket] = []
        self._mute: list[socket.socket] = []
        self._word = b""
        self._held_up: set[socket.socket] = set()
        self._dropped: set[socket.socket] = set()
        self._deliver = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        #: Those that carry what the servers of held connections say.
        self._answering: dict[socket.socket, threading.Thread] = {}
        self._threads[0].start()

    def lead_to(self, target: str) -> None:
        """From now on connections that come lead to another server; those that are open stay where they are."""
        self._server = target

    def swallow(self) -> None:
        """From now on what the server sends is lost, on connections that are open; those that come are well."""
        with self._lock:
            self._deaf = [client for client, _ in self._pairs]

    def hold(self, word: bytes = b"") -> None:
        """From now on what clients send on open connections is held up; connections that come are well.

        Args:
            word: only where that is in it, from there on.
        """
        with self._lock:
            self._word = word
            self._deliver.clear()
            self._held_up.clear()
            self._mute = [client for client, _ in self._pairs]

    def drop(self) -> None:
        """Ends the connections on which something was held up, and that is lost."""
        with self._lock:
            self._dropped |= self._held_up
        self._deliver.set()

    def deliver(self) -> None:
        """Lets go what was held up, whose clients are gone; returns when the server has taken and answered it."""
        with self._lock:
            answering = [self._answering[client] for client in self._held_up]
        self._deliver.set()
        for thread in answering:
            thread.join(10)
            assert not thread.is_alive(), "a client of what was held up is still there"

    def cut(self) -> None:
        """Ends every connection."""
        with self._lock:
            self._deaf = []
            pairs, self._pairs = self._pairs, []
        self._deliver.set()
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def cut_when_swallowed(self) -> None:
        """Waits until something of the server's is lost, then ends every connection."""
        assert self.swallowed.wait(10)
        self.cut()

    def close(self) -> None:
        """Ends everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _connect(self) -> socket.socket:
        if self._server.startswith("unix:"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server.removeprefix("unix:"))
            return server
        host, _, port = self._server.rpartition(":")
        return socket.create_connection((host, int(port)))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = self._connect()
            except OSError:
                return
            asking = threading.Thread(target=self._pump, args=(client, server, client, False), daemon=True)
            answering = threading.Thread(target=self._pump, args=(server, client, client, True), daemon=True)
            with self._lock:
                self._pairs.append((client, server))
                self._answering[client] = answering
            for thread in (asking, answering):
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, client: socket.socket, from_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    lost = from_server and client in self._deaf
                    mute = not from_server and client in self._mute and self._word in data
                if mute:
                    self._held_up.add(client)
                    self.held.set()
                    self._deliver.wait()
                if client in self._dropped:
                    break
                if lost:
                    self.swallowed.set()
                else:
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()


@contextmanager
def between(target: str) -> Iterator[Proxy]:
    """A proxy that ends with the with."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
