"""Encryption that also tells whether anything was changed."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..errors import DibsError
from .codec import Codec

#: Bytes before what is encrypted: those that make the key of it, and the nonce.
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 12, 16
#: Where the derived keys are used; part of the format.
_INFO = b"dibs aes-gcm 1"
#: Payloads that are encrypted with one derived key. AES-GCM with random nonces holds up to 2^32.
_PER_SALT = 2**24
#: Derived keys that are kept for reading: those of as many processes that write.
_KEPT = 1024


class AesGcm(Codec):
    """Encrypts with AES-GCM (NIST SP 800-38D) on `cryptography`: ``pip install 'dibs[encryption]'``.

    What is encrypted for one item cannot be used as another's: it is bound to namespace, task and id. Each program that
    writes derives keys of its own from the key that it is given (HKDF with SHA-256), so that there is no number of
    payloads after which a key is used up.

    Args:
        keys: keys by name: 32, 24 or 16 random bytes each, or their base 64. All of them can be read with; names are
            public, and a name belongs to one key for ever.
        write: name of the key to write with. Default: the only one; of several, the last one given.

    Raises:
        ValueError: there is no key, one is none, or there is none called `write`.
        DibsError: `cryptography` is not installed.

    Example::

        dibs.connect(codec=AesGcm({"2026-05": old, "2026-11": new}, write="2026-11"))
    """

    name = "aes-gcm"
    encrypts = True

    def __init__(self, keys: Mapping[str, bytes | str], *, write: str | None = None) -> None:
        self._keys = {name: _key(name, key) for name, key in keys.items()}
        if not self._keys:
            raise ValueError("AesGcm needs a key at least")
        self.key = write if write is not None else next(reversed(self._keys))
        if self.key not in self._keys:
            raise ValueError(f"there is no key {self.key!r} to write with: {', '.join(self._keys)}")
        _primitives()
        self._cipher = lru_cache(maxsize=_KEPT)(self._derive)
        #: The bytes that the key in use is derived with, its cipher, and how many payloads it has encrypted. Threads
        #: that count at once lose some of each other's counts, for which there is room.
        self._writing: tuple[bytes, Any] | None = None
        self._written = 0

    def __repr__(self) -> str:
        """The names of its keys; never a key."""
        return f"<AesGcm writes {self.key}, reads {', '.join(self._keys)}>"

    def __reduce__(self) -> Any:
        """Keys stay where they are."""
        raise TypeError("an AesGcm is not pickled: its keys would go along")

    def encode(self, data: bytes, about: bytes) -> bytes:
        """Encrypt `data`, bound to `about`."""
        writing = self._writing
        if writing is None or self._written >= _PER_SALT:
            salt = os.urandom(_SALT_BYTES)
            writing = self._writing = (salt, self._derive(self.key, salt))
            self._written = 0
        self._written += 1
        salt, cipher = writing
        nonce = os.urandom(_NONCE_BYTES)
        return b"%b%b%b" % (salt, nonce, cipher.encrypt(nonce, data, about))

    def decode(self, data: bytes, key: str, about: bytes) -> bytes:
        """Decrypt `data`.

        Raises:
            ValueError: there is no key of that name, or it is another one than it was encrypted with, or the bytes
                or what they belong to have been changed.
        """
        if key not in self._keys:
            raise ValueError(f"there is no key {key!r} here, only {', '.join(self._keys)}")
        if len(data) < _SALT_BYTES + _NONCE_BYTES + _TAG_BYTES:
            raise ValueError("too short to be encrypted")
        salt, nonce = data[:_SALT_BYTES], data[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
        try:
            plain: bytes = self._cipher(key, salt).decrypt(nonce, data[_SALT_BYTES + _NONCE_BYTES :], about)
        except _primitives().invalid as error:
            raise ValueError(
                f"it was changed, moved from another item, or encrypted with another key called {key!r}"
            ) from error
        return plain

    def _derive(self, name: str, salt: bytes) -> Any:
        key = self._keys[name]
        made = _primitives()
        return made.cipher(made.derive(key, salt))


class _Primitives:
    """What is used of `cryptography`, which is imported when it is needed."""

    def __init__(self) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ModuleNotFoundError as error:
            raise DibsError(f"AesGcm needs {error.name}: pip install 'dibs[encryption]'") from error
        self.invalid = InvalidTag
        self.cipher = AESGCM
        self._hkdf, self._sha256 = HKDF, SHA256

    def derive(self, key: bytes, salt: bytes) -> bytes:
        """A key of the same length."""
        return bytes(self._hkdf(self._sha256(), len(key), salt, _INFO).derive(key))


@lru_cache(maxsize=1)
def _primitives() -> _Primitives:
    return _Primitives()


def _key(name: str, key: bytes | str) -> bytes:
    if isinstance(key, str):
        try:
            key = base64.b64decode(key.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"key {name!r} is not in base 64") from None
    if len(key) not in (16, 24, 32):
        raise ValueError(f"key {name!r} has {len(key)} bytes, and not 32 (or 24, or 16)")
    return bytes(key)
