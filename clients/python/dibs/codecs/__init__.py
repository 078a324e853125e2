"""Codecs: compression and encryption of payloads and results, between programs that have the keys.

What the broker and Redis hold, and what goes over the wire, is what codecs make of it. Names of queues and tasks, ids,
headers and error texts stay as they are.

Example::

    from dibs.codecs import AesGcm, Zlib

    dibs.connect(codec=[Zlib(), AesGcm({"2026-11": key})])
"""

from __future__ import annotations

from .aes_gcm import AesGcm as AesGcm
from .codec import AnyCodec as AnyCodec
from .codec import Codec as Codec
from .codec import Codecs as Codecs
from .sealing import Sealed as Sealed
from .zlib import Zlib as Zlib

__all__ = ["AesGcm", "AnyCodec", "Codec", "Codecs", "Sealed", "Zlib"]
