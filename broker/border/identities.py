"""Who calls: from the credentials of a call to a principal.

The one place that decides it. What comes of it is a `Principal` of the file of `--auth-file`, whose rights are another
matter (`rights.py`), or `Unauthenticated`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.auth_file import NO_FILE, AuthFile, BadAuthFile, read_auth_file
from ..config.principals import Principal
from .errors import TokenMissing, TokenUnknown
from .file_watch import FileWatch

if TYPE_CHECKING:
    # Verifying needs a package that a broker without an issuer lacks.
    from .jwt_tokens import JwtTokens

_log = logging.getLogger(__name__)

_HEADER = "authorization"
_SCHEME = "bearer "
#: Longest token that is looked at, in characters; `dibs token new` makes 48, and one with grants has about a thousand.
_LONGEST_TOKEN = 8192
#: Longest timer, in seconds: event loops do not take any number.
_LONGEST_TIMER_S = 86_400.0


class Credentials(NamedTuple):
    """What a call says of who makes it.

    Attributes:
        digest: SHA-256 of its token; None: it has none.
        certificate: what the certificate of its connection says, what counts most first.
        token: its token, if an issuer may have signed it; else "".
    """

    digest: bytes | None
    certificate: tuple[str, ...] = ()
    token: str = ""


class Identities(FileWatch[AuthFile]):
    """The principals of the file, and who is one of them.

    Args:
        path: the file; None: nobody is known by it.
        tokens: verifies those that an issuer has signed; None: such are not taken.

    Attributes:
        tokens: as given.

    Raises:
        BadAuthFile: it does not serve.
    """

    def __init__(self, path: Path | None, tokens: JwtTokens | None = None) -> None:
        self.tokens = tokens
        if tokens is not None:
            tokens.changed = self._tell
        super().__init__(
            "the file of --auth-file",
            lambda: NO_FILE if path is None else read_auth_file(path, getattr(self, "current", None)),
            BadAuthFile,
            "who may call, and what, stays as it was read before",
        )
        self._listeners: dict[object, Callable[[], None]] = {}
        if path is not None:
            _log.info("%s", _summary(self.current))

    def credentials(self, context: Any) -> Credentials:
        """What a call says of who makes it. A certificate counts where there is no token."""
        for key, value in context.invocation_metadata():
            if key == _HEADER:
                return self._with_token(value)
        if self.current.by_certificate:
            return Credentials(None, _names(context.auth_context()))
        return Credentials(None)

    def _with_token(self, value: str | bytes) -> Credentials:
        token = _token(value)
        digest = hashlib.sha256(token.encode()).digest() if token else b""
        return Credentials(digest, token=token if self.tokens is not None and token.count(".") == 2 else "")

    def principal(self, credentials: Credentials) -> Principal:
        """Who that is, by the file as it is now.

        Raises:
            Unauthenticated: nobody who is known.
        """
        file = self.current
        if credentials.digest is not None:
            found = file.by_digest(credentials.digest)
            if found is None and self.tokens is not None and credentials.token:
                return self.tokens.principal(credentials.digest, credentials.token)
            if found is None:
                raise TokenUnknown
            return found
        for name in credentials.certificate:
            if name in file.by_certificate:
                return file.by_certificate[name]
        raise TokenMissing(credentials.certificate)

    @contextmanager
    def on_change(self, callback: Callable[[], None], credentials: Credentials | None = None) -> Iterator[None]:
        """Call back, without blocking, when others may call than before, inside the with.

        Args:
            callback: called when another file or other keys are in use, and when a token expires.
            credentials: with that token.
        """
        key = object()
        self._listeners[key] = callback
        expiry = None
        if self.tokens is not None and credentials is not None and credentials.token:
            expiry = Expiry(self.tokens, credentials.digest or b"", callback)
        try:
            yield
        finally:
            del self._listeners[key]
            if expiry is not None:
                expiry.cancel()

    def taken(self) -> None:
        """Tell everybody who must look again."""
        _log.info("another file is in use: %s", _summary(self.current))
        self._tell()

    def _tell(self) -> None:
        for callback in tuple(self._listeners.values()):
            callback()


class Expiry:
    """Calls back when a token has expired, however the clock is set meanwhile.

    Args:
        tokens: knows when that is.
        digest: of the token, which has been taken.
        callback: called then.
    """

    def __init__(self, tokens: JwtTokens, digest: bytes, callback: Callable[[], None]) -> None:
        self._tokens = tokens
        self._digest = digest
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def cancel(self) -> None:
        """Call back no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        expires = self._tokens.expires(self._digest)
        if expires is not None:
            left = min(max(expires - time.time(), 0.0), _LONGEST_TIMER_S)
            self._timer = asyncio.get_running_loop().call_later(left, self._look)

    def _look(self) -> None:
        self._callback()
        # Not yet, or it was verified anew.
        self._wait()


def _token(value: str | bytes) -> str:
    """The token in an `authorization` header; "": it has another form, and is nobody's."""
    text = value if isinstance(value, str) else value.decode("latin-1")
    if text[: len(_SCHEME)].lower() != _SCHEME or len(text) > _LONGEST_TOKEN:
        return ""
    return text[len(_SCHEME) :].strip()


def _names(context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """What a verified certificate says: SPIFFE's name first, then the other alternative names, then the common name."""
    found = [*context.get("peer_spiffe_id", ()), *context.get("x509_subject_alternative_name", ())]
    names = [name.decode(errors="replace") for name in found]
    names += ["CN=" + name.decode(errors="replace") for name in context.get("x509_common_name", ())]
    return tuple(dict.fromkeys(names))


def _summary(file: AuthFile) -> str:
    return f"{file.count} principal{'' if file.count == 1 else 's'} may call"
