"""Keys that an issuer signs tokens with (JWKS, RFC 7517), from a file or from its web server.

What a key is decides how it is used: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA. Nothing that a token says can
have a key used in another way.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import jwt

from .jwks_source import BadKeys, is_local, is_url

#: Most bytes of a set of keys, and most keys in it.
MAX_BYTES: Final = 1024 * 1024
MAX_KEYS: Final = 100
#: How long the web server may keep silent, and how long its answer may take to come, in seconds.
SILENT_S: Final = 10.0
LONGEST_S: Final = 30.0
_LEAST_RSA_BITS: Final = 2048

#: Kinds of keys, with their curves, and what tokens are signed with by them.
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}


@dataclass(frozen=True)
class VerifyingKey:
    """A key of an issuer.

    Attributes:
        algorithm: the one that it is for.
        key: for PyJWT.
    """

    algorithm: str
    key: Any


@dataclass(frozen=True)
class KeySet:
    """The keys of an issuer.

    Attributes:
        content: as they were written.
        by_id: the keys; one that has no id is called "".
    """

    content: bytes = b""
    by_id: Mapping[str, VerifyingKey] = field(default_factory=dict, compare=False, repr=False)

    def find(self, id: str) -> VerifyingKey | None:
        """The key of that id; without one the only key that there is."""
        if not id and len(self.by_id) == 1:
            return next(iter(self.by_id.values()))
        return self.by_id.get(id)


#: Before the first ones have come.
NO_KEYS = KeySet()


def read_keys(source: str) -> KeySet:
    """The keys that are there now; blocks, for a web server that does not answer 10 s, and 30 s for its answer.

    Raises:
        BadKeys: see there.
    """
    what = f"--jwt-jwks {source}"
    if is_url(source):
        content = _fetched(source, what)
    else:
        try:
            with Path(source).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise BadKeys(f"{what} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise BadKeys(f"{what} is larger than {MAX_BYTES} bytes")
    try:
        return KeySet(content, _keys(json.loads(content)))
    except (ValueError, RecursionError) as error:
        raise BadKeys(f"{what}: {error}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Keys come from where the operator says, and from nowhere else."""


def _fetched(url: str, what: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "dibs"})  # noqa: S310
    # What is on this machine is not reached by a proxy.
    handlers: list[Any] = [_NoRedirects, *([urllib.request.ProxyHandler({})] if is_local(url) else [])]
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=SILENT_S) as reply:
            return _body(reply)
    except urllib.error.HTTPError as error:
        error.close()
        raise BadKeys(f"{what} cannot be fetched: the server answered {error.code}") from None
    except urllib.error.URLError as error:
        raise BadKeys(f"{what} cannot be fetched: {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise BadKeys(f"{what} cannot be fetched: {error!r}") from None


def _body(reply: Any) -> bytes:
    """What a server answers, unless it takes its time over it."""
    until = time.monotonic() + LONGEST_S
    content = b""
    while part := reply.read1(MAX_BYTES + 1 - len(content)):
        content += part
        if len(content) > MAX_BYTES:
            break
        if time.monotonic() > until:
            raise TimeoutError(f"not all of it came within {LONGEST_S:g} s")
    return content


def _keys(found: Any) -> dict[str, VerifyingKey]:
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError('must be JSON with a list "keys" of objects')
    if len(entries) > MAX_KEYS:
        raise ValueError(f"has {len(entries)} keys; {MAX_KEYS} are taken at most")
    keys: dict[str, VerifyingKey] = {}
    for entry in entries:
        algorithm = _ALGORITHMS.get((str(entry.get("kty")), entry.get("crv")))
        # Others are for something else, or for programs that know more algorithms.
        if algorithm is None or entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
            continue
        id = entry.get("kid", "")
        if not isinstance(id, str) or id in keys:
            raise ValueError(f"has two keys with the id {id!r:.100}, or one with an id that is no text")
        keys[id] = _key(id, entry, algorithm)
    if not keys:
        raise ValueError("has no key for RS256, ES256 or EdDSA")
    return keys


def _key(id: str, entry: Mapping[str, Any], algorithm: str) -> VerifyingKey:
    if "d" in entry:
        raise ValueError(f"key {id!r:.100} is a private one: publish the public key only")
    try:
        key = jwt.PyJWK(dict(entry), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"key {id!r:.100} is not a key: {error}") from None
    if algorithm == "RS256" and key.key_size < _LEAST_RSA_BITS:
        raise ValueError(f"key {id!r:.100} has {key.key_size} bits; {_LEAST_RSA_BITS} are taken at least")
    return VerifyingKey(algorithm, key)
