"""Pages of lists (AIP-158): sizes, and tokens that say where to go on.

A token holds a cursor of its list and a checksum over it and everything else in the request, so that one that was made
up, or belongs to another list, is refused. It is no secret and nothing is kept for it: any broker takes any broker's.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass

from google.protobuf.message import Message

from ..border.errors import InvalidField
from . import validation as check

#: Entries of a page when the request does not say.
DEFAULT_SIZE = 100
MAX_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """What a request for a page asks for.

    Attributes:
        size: entries wanted.
        cursor: where to begin; "" at the beginning. What it looks like is the list's own affair.
    """

    size: int
    cursor: str
    _scope: int

    def token(self, cursor: str) -> str:
        """The token of the page that begins at a cursor; "" for none."""
        if not cursor:
            return ""
        text = cursor.encode()
        return base64.urlsafe_b64encode(zlib.crc32(text, self._scope).to_bytes(4) + text).decode().rstrip("=")

    def position(self) -> int:
        """The cursor of a list whose cursors are numbers from 0. Raises `InvalidField`."""
        if not self.cursor:
            return 0
        if not (self.cursor.isascii() and self.cursor.isdecimal() and len(self.cursor) < 16):
            raise bad_token()
        return int(self.cursor)


def read_page(request: Message) -> Page:
    """The page that a request asks for. Raises `InvalidField`.

    Args:
        request: with the fields page_size and page_token.
    """
    size: int = request.page_size  # type: ignore[attr-defined]
    token: str = request.page_token  # type: ignore[attr-defined]
    check.integer(size, "page_size", 0, MAX_SIZE)
    other = type(request)()
    other.CopyFrom(request)
    other.ClearField("page_size")
    other.ClearField("page_token")
    scope = zlib.crc32(request.DESCRIPTOR.full_name.encode() + other.SerializeToString(deterministic=True))
    return Page(size or DEFAULT_SIZE, _cursor(token, scope) if token else "", scope)


def bad_token() -> InvalidField:
    """The error of a token that is none of ours."""
    return InvalidField("page_token", "must be what the last page of the same list gave as next_page_token")


def _cursor(token: str, scope: int) -> str:
    try:
        found = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        cursor = found[4:].decode()
    except (binascii.Error, ValueError):
        raise bad_token() from None
    if not cursor or found[:4] != zlib.crc32(found[4:], scope).to_bytes(4):
        raise bad_token()
    return cursor
