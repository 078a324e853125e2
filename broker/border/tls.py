"""TLS at a broker's ports, with certificates that can be changed while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc

from ..config.certificates import BadCertificates, CertificateFiles, Certificates, read_certificates, shown_time
from .file_watch import FileWatch

_log = logging.getLogger(__name__)

#: Certificates that end sooner are spoken of.
SOON = timedelta(days=14)


def clock() -> datetime:
    """Now, by this machine's clock."""
    return datetime.now(UTC)


class Tls(FileWatch[Certificates]):
    """The certificates in use, and those who get them.

    Connections that are open keep what they began with. Files that do not serve change nothing: new connections get
    what was read before.

    Args:
        files: where the certificates are.
        wants_client: whether clients must show a certificate.
        now: this machine's clock.

    Raises:
        BadCertificates: the files do not serve.
    """

    def __init__(
        self, files: CertificateFiles, *, wants_client: bool = False, now: Callable[[], datetime] = clock
    ) -> None:
        self._wants_client = wants_client
        self._now = now
        super().__init__(
            "the files of --tls-cert, --tls-key and --tls-client-ca",
            lambda: read_certificates(files, now()),
            BadCertificates,
            "new connections get the certificates that were read before",
        )
        self._tell("TLS certificate")

    def credentials(self) -> grpc.ServerCredentials:
        """For one address; gRPC asks with every new connection whether there is something new."""
        given = self.current

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            # In a thread of gRPC's, for one connection of this address at a time.
            nonlocal given
            if self.current is given:
                return None
            given = self.current
            return _configuration(given)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(given),
            fetch,  # type: ignore[arg-type]  # its stub omits that None means "nothing new"
            self._wants_client,
        )

    def soon(self) -> str:
        """What ends within `SOON`, or has ended, in one sentence; "": nothing."""
        now = self._now()
        ends = {
            "the certificate of --tls-cert": self.current.expires,
            "every certificate in --tls-client-ca": self.current.client_ca_expires,
        }
        said = [f"{name} {_when(end, now)}" for name, end in ends.items() if end is not None and end - now < SOON]
        return " and ".join(said) + ": put another one in its place" if said else ""

    def taken(self) -> None:
        """Say so."""
        self._tell("new connections get another TLS certificate")

    def _tell(self, what: str) -> None:
        end = self.current.expires
        soon = end - self._now() < SOON
        _log.log(logging.WARNING if soon else logging.INFO, "%s, valid until %s", what, shown_time(end))


def _configuration(found: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(found.key, found.cert)], found.client_ca)


def _when(end: datetime, now: datetime) -> str:
    if end < now:
        return f"has expired on {shown_time(end)}"
    days = (end - now).days
    left = "less than a day" if days < 1 else f"{days} day{'s' if days > 1 else ''}"
    return f"expires in {left}, on {shown_time(end)}"
