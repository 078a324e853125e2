"""The text of an error as it fits into a message."""

from __future__ import annotations

#: Bytes of an error text; brokers cut off what is beyond 8 KiB.
MAX_ERROR_BYTES = 8 * 1024


def beginning(error: str) -> str:
    """An error text, or the beginning of a long one."""
    encoded = _encoded(error)
    if len(encoded) > MAX_ERROR_BYTES:
        encoded = encoded[: MAX_ERROR_BYTES - 4].decode("utf-8", "ignore").encode() + b" ..."
    return encoded.decode()


def end(error: str) -> str:
    """An error text, or the end of a long one, which says most of a traceback."""
    encoded = _encoded(error)
    if len(encoded) > MAX_ERROR_BYTES:
        encoded = b"... " + encoded[4 - MAX_ERROR_BYTES :]
    return encoded.decode("utf-8", "ignore")


def _encoded(error: str) -> bytes:
    return error.encode("utf-8", "backslashreplace")
