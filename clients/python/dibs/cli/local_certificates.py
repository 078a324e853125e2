"""Certificates for a broker on this machine, to develop with: an authority of its own, known to nobody else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, GeneralName

#: How long they are valid, and how much of that must be left for them to be used again.
_VALID = timedelta(days=365)
_LEFT = timedelta(days=30)
#: Clocks of other machines may be behind.
_SLACK = timedelta(hours=1)


class NoCertificates(Exception):
    """There are none, and none can be made; the text is one sentence that says why."""


@dataclass(frozen=True)
class LocalCertificates:
    """Where they are.

    Attributes:
        ca: the authority, for clients.
        cert: certificate of the broker.
        key: its key, which only its owner can read.
    """

    ca: Path
    cert: Path
    key: Path


def local_certificates(folder: Path, hosts: Iterable[str] = ()) -> LocalCertificates:
    """Those in a folder; made anew, authority and all, when they are not there, do not fit, or end within 30 days.

    The authority's key is kept nowhere: nothing else can ever be signed with it.

    Args:
        folder: made if it is not there.
        hosts: names and addresses of the broker, besides localhost, the loopback addresses and this machine's name.

    Raises:
        NoCertificates: the package that makes them is not installed, or the folder cannot be written to.
    """
    names = dict.fromkeys(("localhost", "127.0.0.1", "::1", socket.gethostname(), *hosts))
    files = LocalCertificates(folder / "ca.pem", folder / "broker.pem", folder / "broker.key")
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError:
        raise NoCertificates("--tls needs the package cryptography: pip install 'dibs[tls]'") from None
    try:
        if not _serve(files, names):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(files, names)
    except OSError as error:
        raise NoCertificates(f"certificates cannot be kept in {folder}: {error.strerror}") from None
    return files


def _serve(files: LocalCertificates, hosts: Iterable[str]) -> bool:
    """Whether the files that are there do."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
        cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
        key = load_pem_private_key(files.key.read_bytes(), None)
        cert.verify_directly_issued_by(ca)
        known = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    long_enough = min(ca.not_valid_after_utc, cert.not_valid_after_utc) - datetime.now(UTC) > _LEFT
    return long_enough and key.public_key() == cert.public_key() and all(_name(host) in known for host in hosts)


def _make(files: LocalCertificates, hosts: Iterable[str]) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    signer, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca, cert = _signed(signer, key, hosts)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(files.key, secret, 0o600)
    _write(files.cert, cert.public_bytes(Encoding.PEM), 0o644)
    _write(files.ca, ca.public_bytes(Encoding.PEM), 0o644)


def _signed(
    signer: EllipticCurvePrivateKey, key: EllipticCurvePrivateKey, hosts: Iterable[str]
) -> tuple[Certificate, Certificate]:
    """An authority, and a certificate of its for the hosts."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"dibs dev on {socket.gethostname()}"[:64])])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dibs dev broker")])
    draft = x509.CertificateBuilder().issuer_name(issuer).not_valid_before(now - _SLACK).not_valid_after(now + _VALID)
    ca = (
        draft.subject_name(issuer)
        .public_key(signer.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(signer.public_key()), critical=False)
        .sign(signer, SHA256())
    )
    cert = (
        draft.subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, SHA256())
    )
    return ca, cert


def _name(host: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, content: bytes, mode: int) -> None:
    """The file has that content from one moment to the next."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    draft.replace(path)
