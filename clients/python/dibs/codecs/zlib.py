"""Compression that every Python has."""

from __future__ import annotations

import zlib

from ..contract.limits import CONTRACT
from ..errors import PayloadError
from .codec import Codec

#: Payloads below this stay as they are, unless told otherwise, in bytes: there is little to gain.
DEFAULT_LEAST_BYTES = 1024
#: What a payload may become when it is decompressed, unless told otherwise, in bytes.
DEFAULT_MAX_BYTES = CONTRACT.max_message_bytes


class Zlib(Codec):
    """Compresses with zlib (RFC 1950) what is long enough, and what becomes shorter.

    Args:
        level: 1 (fast) to 9 (small).
        least_bytes: shorter payloads stay as they are. Default 1 KiB.
        max_bytes: longest payload, before it is compressed: a longer one is neither written nor read, so that a few
            bytes cannot fill the memory of whoever reads them. Default 4 MiB.

    Raises:
        ValueError: a number is out of its range.

    Example::

        dibs.connect(codec=Zlib())
    """

    name = "zlib"

    def __init__(
        self, level: int = 6, *, least_bytes: int = DEFAULT_LEAST_BYTES, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        if not 1 <= level <= 9:
            raise ValueError(f"level must be 1 to 9, not {level!r}")
        if least_bytes < 0:
            raise ValueError(f"least_bytes must not be below 0, not {least_bytes!r}")
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 at least, not {max_bytes!r}")
        self._level = level
        self._least_bytes = least_bytes
        self._max_bytes = max_bytes

    def encode(self, data: bytes, about: bytes) -> bytes | None:
        """Compress `data`; None if that is not worth while.

        Raises:
            PayloadError: it is longer than `max_bytes`.
        """
        if len(data) < self._least_bytes:
            return None
        if len(data) > self._max_bytes:
            raise PayloadError(f"is {len(data):,} bytes long; this Zlib takes {self._max_bytes:,} (max_bytes)")
        made = zlib.compress(data, self._level)
        return made if len(made) < len(data) else None

    def decode(self, data: bytes, key: str, about: bytes) -> bytes:
        """Decompress `data`.

        Raises:
            ValueError: it is not what zlib makes, or becomes longer than `max_bytes`.
        """
        reading = zlib.decompressobj()
        try:
            made = reading.decompress(data, self._max_bytes + 1)
        except zlib.error as error:
            raise ValueError(f"not what zlib makes: {error}") from error
        if len(made) > self._max_bytes:
            raise ValueError(f"longer than {self._max_bytes:,} bytes when it is decompressed (max_bytes)")
        if not reading.eof or reading.unused_data:
            raise ValueError("not what zlib makes: its end is missing, or something follows")
        return made
