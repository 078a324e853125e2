"""A network between client and broker that tests can break."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards TCP connections to a broker, from threads.

    Attributes:
        target: where clients connect.
        swallowed: set when it has swallowed something of the broker's.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._broker = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.swallowed = threading.Event()
        self._swallowing = False
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    def swallow(self) -> None:
        """From now on what the broker sends is lost, on connections that are open; those that come are well."""
        with self._lock:
            self._swallowing = True
            self._deaf = [pair[0] for pair in self._pairs]

    def cut(self) -> None:
        """Ends every connection."""
        with self._lock:
            self._swallowing = False
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def cut_when_swallowed(self) -> None:
        """Waits until something of the broker's is lost, then ends every connection."""
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

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                broker = socket.create_connection(self._broker)
            except OSError:
                return
            with self._lock:
                self._pairs.append((client, broker))
            for source, sink, from_broker in ((client, broker, False), (broker, client, True)):
                thread = threading.Thread(target=self._pump, args=(source, sink, from_broker), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, from_broker: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    lost = from_broker and self._swallowing and sink in self._deaf
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
