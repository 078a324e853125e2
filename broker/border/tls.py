"""TLS at a broker's ports, with certificates that can be changed while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import grpc

from ..config.certificates import BadCertificates, CertificateFiles, Certificates, read_certificates, shown_time

_log = logging.getLogger(__name__)

#: Seconds between looks at the files.
LOOK_S = 10.0
#: Certificates that end sooner are spoken of.
SOON = timedelta(days=14)


def clock() -> datetime:
    """Now, by this machine's clock."""
    return datetime.now(UTC)


class Tls:
    """The certificates in use, and those who get them.

    Connections that are open keep what they began with. Files that do not serve change nothing: new connections get
    what was read before.

    Args:
        files: where the certificates are.
        wants_client: whether clients must show a certificate.
        now: this machine's clock.

    Attributes:
        current: what new connections get.
        complaint: why the files as they are now do not serve, in one sentence; "": they do.

    Raises:
        BadCertificates: the files do not serve.
    """

    def __init__(
        self, files: CertificateFiles, *, wants_client: bool = False, now: Callable[[], datetime] = clock
    ) -> None:
        self._files = files
        self._wants_client = wants_client
        self._now = now
        self.current = read_certificates(files, now())
        self.complaint = ""
        self._hasten = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
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

    def start(self) -> None:
        """Begins to look at the files every 10 s."""
        self._task = asyncio.create_task(self._follow(), name="dibs-tls")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def hasten(self) -> None:
        """Look at the files now, and say what came of it."""
        self._hasten.set()

    async def look(self) -> bool:
        """Look at the files; whether new ones were taken."""
        try:
            # Files may lie on a disk that does not answer.
            found = await asyncio.to_thread(read_certificates, self._files, self._now())
        except BadCertificates as error:
            return self._complain(str(error))
        except Exception as error:  # noqa: BLE001  # the looks go on, whatever a file has brought about
            return self._complain(f"the files of --tls-cert and --tls-client-ca cannot be read: {error!r}")
        if self.complaint:
            _log.info("the files of --tls-cert, --tls-key and --tls-client-ca are in order again")
            self.complaint = ""
        if found == self.current:
            return False
        self.current = found
        self._tell("new connections get another TLS certificate")
        return True

    def _complain(self, text: str) -> bool:
        """Says it once. Always False: nothing was taken."""
        if text != self.complaint:
            _log.error("%s; new connections get the certificates that were read before", text)
        self.complaint = text
        return False

    def soon(self) -> str:
        """What ends within `SOON`, or has ended, in one sentence; "": nothing."""
        now = self._now()
        ends = {
            "the certificate of --tls-cert": self.current.expires,
            "every certificate in --tls-client-ca": self.current.client_ca_expires,
        }
        said = [f"{name} {_when(end, now)}" for name, end in ends.items() if end is not None and end - now < SOON]
        return " and ".join(said) + ": put another one in its place" if said else ""

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._hasten.wait()
            asked = self._hasten.is_set()
            self._hasten.clear()
            if not await self.look() and asked:
                _log.info("looked at the certificates: %s", self.complaint or "nothing has changed")

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
