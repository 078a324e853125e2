"""A bearer token in a file that somebody else renews, such as a projected service account token."""

from __future__ import annotations

import logging
import time
from pathlib import Path

_log = logging.getLogger("dibs")

#: How long a token is used before the file is read again, in seconds.
READ_EVERY_SECONDS = 1.0
#: Longest file that is a token, in bytes.
_MOST_BYTES = 16 * 1024


class TokenFile:
    """Reads the token, at most once a second. Safe to use from any thread.

    Args:
        path: of the file.
    """

    __slots__ = ("_complained", "_read_at", "_token", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = ""
        self._read_at = -READ_EVERY_SECONDS
        self._complained = False

    def __eq__(self, other: object) -> bool:
        """Whether it is the same file."""
        return isinstance(other, TokenFile) and other.path == self.path

    def __hash__(self) -> int:
        """By the file."""
        return hash(self.path)

    def __repr__(self) -> str:
        """The path; never the token."""
        return f"<TokenFile {self.path}>"

    def read(self) -> str:
        """The token that is in the file now.

        Raises:
            ValueError: the file cannot be read, or holds no token.
        """
        try:
            with self.path.open("rb") as file:
                token = file.read(_MOST_BYTES + 1).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ValueError(f"the token file {self.path} cannot be read: {reason}") from None
        if not token or len(token) > _MOST_BYTES or len(token.split()) != 1:
            raise ValueError(f"the token file {self.path} holds no token")
        return token

    def token(self) -> str:
        """The token; if the file cannot be read, the one from before."""
        now = time.monotonic()
        if now - self._read_at >= READ_EVERY_SECONDS:
            self._read_at = now
            try:
                self._token = self.read()
            except ValueError as error:
                if not self._complained:
                    _log.warning("%s; the token from before is sent", error)
                self._complained = True
            else:
                self._complained = False
        return self._token
