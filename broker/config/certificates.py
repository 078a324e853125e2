"""Certificates and keys in PEM files: read, and refused in one sentence when they cannot serve."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

T = TypeVar("T")

#: Most bytes of one file; a thousand authorities take less.
_MAX_BYTES = 4 * 1024 * 1024


class BadCertificates(Exception):
    """A file does not serve; the text is one sentence that names its option."""


@dataclass(frozen=True)
class CertificateFiles:
    """Where to look.

    Attributes:
        cert: certificate of this broker, with the intermediate ones behind it.
        key: its key.
        client_ca: authorities whose certificates clients may show; None: there are none.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class Certificates:
    """What the files held; it fits together.

    Attributes:
        cert: the chain, in PEM.
        key: its key, in PEM.
        client_ca: the authorities, in PEM.
        expires: when the first of the chain ends.
        client_ca_expires: when the last of the authorities ends.
    """

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    expires: datetime
    client_ca_expires: datetime | None


def read_certificates(files: CertificateFiles, now: datetime) -> Certificates:
    """Read the files.

    Args:
        files: where they are.
        now: by this machine's clock.

    Raises:
        BadCertificates: they cannot be read, hold something else, do not fit together, or are not valid now; others may
            read the key; or the package that reads certificates is not installed.
    """
    cert, key = content_of("--tls-cert", files.cert), content_of("--tls-key", files.key, is_secret=True)
    chain = _parsed("--tls-cert", files.cert, cert)
    _check_key(files, key, chain[0])
    for one in chain:
        _check_time("--tls-cert", files.cert, one, now)
    expires = min(one.not_valid_after_utc for one in chain)
    if files.client_ca is None:
        return Certificates(cert, key, None, expires, None)
    client_ca = content_of("--tls-client-ca", files.client_ca)
    # One that is over may stand beside its successor for a while.
    last = max(_parsed("--tls-client-ca", files.client_ca, client_ca), key=lambda one: one.not_valid_after_utc)
    _check_time("--tls-client-ca", files.client_ca, last, now)
    return Certificates(cert, key, client_ca, expires, last.not_valid_after_utc)


def is_open_to_others(mode: int, owner: int) -> bool:
    """Whether a secret file of that mode and owner (user id) can be read by whom it should not.

    A file of root's may be shared with a group, as a mounted secret is; every other is for its owner alone.
    """
    return bool(mode & (0o027 if owner == 0 else 0o077))


def content_of(option: str, path: Path, *, is_secret: bool = False) -> bytes:
    """What a file holds.

    Args:
        option: that names it.
        path: where it is.
        is_secret: nobody else may be able to read it.

    Raises:
        BadCertificates: it cannot be read, or others may read a secret.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadCertificates(f"{option} {path} is not a file")
        if is_secret and is_open_to_others(found.st_mode, found.st_uid):
            mode = stat.S_IMODE(found.st_mode)
            raise BadCertificates(f"{option} {path} is open to others (mode {mode:04o}): chmod 600 {path}")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadCertificates(f"{option} {path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise BadCertificates(f"{option} {path} is larger than {_MAX_BYTES} bytes")
    return content


def _parsed(option: str, path: Path, content: bytes) -> list[Certificate]:
    try:
        from cryptography import x509
    except ModuleNotFoundError:
        raise BadCertificates(f"{option} needs the package cryptography: pip install 'dibs[tls]'") from None
    return _readable(option, path, "certificates", lambda: x509.load_pem_x509_certificates(content))


def _check_key(files: CertificateFiles, content: bytes, cert: Certificate) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        key = _readable("--tls-key", files.key, "a key", lambda: serialization.load_pem_private_key(content, None))
    except TypeError:
        raise BadCertificates(f"--tls-key {files.key} wants a passphrase: write it without one") from None
    curve = key.curve if isinstance(key, ec.EllipticCurvePrivateKey) else None
    if not isinstance(key, rsa.RSAPrivateKey) and not isinstance(curve, ec.SECP256R1 | ec.SECP384R1):
        raise BadCertificates(f"--tls-key {files.key} is of a kind that gRPC cannot use: take RSA, P-256 or P-384")
    if key.public_key() != _readable("--tls-cert", files.cert, "certificates", cert.public_key):
        raise BadCertificates(f"--tls-key {files.key} is not the key of the first certificate in {files.cert}")


def _readable(option: str, path: Path, what: str, read: Callable[[], T]) -> T:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return read()
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificates(f"{option} {path} does not hold {what} in PEM") from None


def _check_time(option: str, path: Path, cert: Certificate, now: datetime) -> None:
    if now > cert.not_valid_after_utc:
        raise BadCertificates(
            f"the certificate in {option} {path} has expired on {shown_time(cert.not_valid_after_utc)}"
        )
    if now < cert.not_valid_before_utc:
        raise BadCertificates(
            f"the certificate in {option} {path} is not valid before {shown_time(cert.not_valid_before_utc)}"
        )


def shown_time(time: datetime) -> str:
    """A time for people, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
