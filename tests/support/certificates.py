"""Authorities, certificates and keys for tests, made when they are needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: How far from now certificates reach, in both directions, unless a test wants others.
_SPAN = timedelta(days=90)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    cert: bytes
    key: bytes

    def write(self, folder: Path, name: str = "broker") -> tuple[Path, Path]:
        """Files of the two, each put in the place of what was there in one go."""
        return replace(folder / f"{name}.pem", self.cert), replace(folder / f"{name}.key", self.key, 0o600)


class Authority:
    """Signs certificates. Two of one name are told apart by their keys alone."""

    def __init__(self, name: str = "test authority", ends: timedelta = _SPAN) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = _draft(self._name, self._name, self._key.public_key(), ends)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def pair(
        self, *hosts: str, ends: timedelta = _SPAN, begins: timedelta = -_SPAN, key: Any = None, passphrase: str = ""
    ) -> Pair:
        """A certificate for hosts (this one, unless named) and its key.

        Args:
            hosts: names and addresses, and URIs.
            ends: when, from now.
            begins: when, from now.
            key: its key; None: a new one on P-256.
            passphrase: of the file of the key; "": none.
        """
        own = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tested")])
        made = _draft(subject, self._name, own.public_key(), ends, begins)
        names = [_name(host) for host in hosts or ("localhost", "127.0.0.1")]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        secret = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else None
        return Pair(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret or serialization.NoEncryption()
            ),
        )


def replace(path: Path, content: bytes, mode: int = 0o644) -> Path:
    """The file has that content from one moment to the next."""
    draft = path.with_name(f".{path.name}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(descriptor, content)
    os.close(descriptor)
    draft.replace(path)
    return path


def _name(host: str) -> x509.GeneralName:
    if "://" in host:
        return x509.UniformResourceIdentifier(host)
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: Any, ends: timedelta, begins: timedelta = -_SPAN
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now + begins,
        not_valid_after=now + ends,
    )
