"""Certificates of TLS towards Redis, looked at before the first connection."""

from __future__ import annotations

import ssl
from pathlib import Path

from .certificates import BadCertificates, content_of


def check_redis_files(ca: Path | None, cert: Path | None, key: Path | None) -> None:
    """Look at the files of `--redis-ca`, `--redis-cert` and `--redis-key`. Every connection reads them again.

    Raises:
        BadCertificates: one cannot be read or holds something else, or the two do not fit together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        content_of("--redis-ca", ca)
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError:
            raise BadCertificates(f"--redis-ca {ca} does not hold certificates in PEM") from None
    if cert is not None and key is not None:
        content_of("--redis-cert", cert)
        content_of("--redis-key", key, is_secret=True)
        try:
            context.load_cert_chain(cert, key, password=lambda: "")
        except ssl.SSLError:
            raise BadCertificates(
                f"--redis-cert {cert} and --redis-key {key} are no certificate and its key in PEM without a passphrase"
            ) from None
