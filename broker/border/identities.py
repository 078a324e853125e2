"""Who calls: from the credentials of a call to a principal.

The one place that decides it. What comes of it is a `Principal` of the file of `--auth-file`, whose rights are another
matter (`rights.py`), or `Unauthenticated`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..config.auth_file import AuthFile, BadAuthFile, read_auth_file
from ..config.principals import Principal
from .errors import TokenMissing, TokenUnknown
from .file_watch import FileWatch

_log = logging.getLogger(__name__)

_HEADER = "authorization"
_SCHEME = "bearer "
#: Longest token that is looked at, in characters; `dibs token new` makes 48.
_LONGEST_TOKEN = 4096


class Credentials(NamedTuple):
    """What a call says of who makes it.

    Attributes:
        digest: SHA-256 of its token; None: it has none.
        certificate: what the certificate of its connection says, what counts most first.
    """

    digest: bytes | None
    certificate: tuple[str, ...] = ()


class Identities(FileWatch[AuthFile]):
    """The principals of the file, and who is one of them.

    Args:
        path: the file.

    Raises:
        BadAuthFile: it does not serve.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            "the file of --auth-file",
            lambda: read_auth_file(path, getattr(self, "current", None)),
            BadAuthFile,
            "who may call, and what, stays as it was read before",
        )
        self._listeners: dict[object, Callable[[], None]] = {}
        _log.info("%s", _summary(self.current))

    def credentials(self, context: Any) -> Credentials:
        """What a call says of who makes it. A certificate counts where there is no token."""
        for key, value in context.invocation_metadata():
            if key == _HEADER:
                return Credentials(_digest(value))
        if self.current.by_certificate:
            return Credentials(None, _names(context.auth_context()))
        return Credentials(None)

    def principal(self, credentials: Credentials) -> Principal:
        """Who that is, by the file as it is now.

        Raises:
            Unauthenticated: nobody who is known.
        """
        file = self.current
        if credentials.digest is not None:
            found = file.by_digest(credentials.digest)
            if found is None:
                raise TokenUnknown
            return found
        for name in credentials.certificate:
            if name in file.by_certificate:
                return file.by_certificate[name]
        raise TokenMissing(credentials.certificate)

    @contextmanager
    def on_change(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back, without blocking, when another file is in use, inside the with."""
        key = object()
        self._listeners[key] = callback
        try:
            yield
        finally:
            del self._listeners[key]

    def taken(self) -> None:
        """Tell everybody who must look again."""
        _log.info("another file is in use: %s", _summary(self.current))
        for callback in tuple(self._listeners.values()):
            callback()


def _digest(value: str | bytes) -> bytes:
    """Of the token in an `authorization` header; one that has another form is nobody's."""
    text = value if isinstance(value, str) else value.decode("latin-1")
    if text[: len(_SCHEME)].lower() != _SCHEME or len(text) > _LONGEST_TOKEN:
        return b""
    return hashlib.sha256(text[len(_SCHEME) :].strip().encode()).digest()


def _names(context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """What a verified certificate says: SPIFFE's name first, then the other alternative names, then the common name."""
    found = [*context.get("peer_spiffe_id", ()), *context.get("x509_subject_alternative_name", ())]
    names = [name.decode(errors="replace") for name in found]
    names += ["CN=" + name.decode(errors="replace") for name in context.get("x509_common_name", ())]
    return tuple(dict.fromkeys(names))


def _summary(file: AuthFile) -> str:
    return f"{file.count} principal{'' if file.count == 1 else 's'} may call"
