"""Tokens that an issuer has signed (JWT): who has one is the principal that it names, with the grants in a claim of it.

Calls never wait for the issuer: they are judged by the keys that are here. Keys are looked at now and then, soon when a
token names one that is not here, and those that were read last stay when they cannot be had.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import jwt

from ..config.auth_file import BadAuthFile, claimed
from ..config.jwks import NO_KEYS, KeySet, read_keys
from ..config.jwks_source import BadKeys, is_url
from ..config.principals import Principal
from .errors import KeysMissing, TokenExpired, TokenRefused
from .file_watch import LOOK_S, FileWatch

_log = logging.getLogger(__name__)

#: Seconds between looks at the keys for the sake of tokens with unknown ones.
LOOK_FOR_UNKNOWN_S = 30.0
#: Seconds between looks while the keys cannot be had.
_AGAIN_S = 10.0
#: Tokens that are remembered, each until it expires; beyond that the oldest are verified anew.
_MOST_REMEMBERED = 10_000
#: What the names of their principals begin with: none of the file of principals does.
PREFIX = "jwt:"
_LONGEST_NAME = 256

_CLAIMS = ("exp", "iss", "aud", "sub")


@dataclass(frozen=True)
class JwtSettings:
    """What tokens are taken.

    Attributes:
        keys: file or URL of the issuer's keys.
        issuer: who signs them; the claim `iss`.
        audience: for whom they are; one of these in the claim `aud`.
        claim: name of the claim that holds the grants.
        leeway: by how much clocks may differ.
        refresh: time between looks at keys that come from a URL.
    """

    keys: str
    issuer: str
    audience: Sequence[str]
    claim: str
    leeway: timedelta
    refresh: timedelta


class JwtTokens(FileWatch[KeySet]):
    """Verifies tokens, and looks after the keys.

    Args:
        settings: which are taken.

    Attributes:
        changed: called when there are other keys.

    Raises:
        BadKeys: the file of keys does not serve. A URL is asked later.
    """

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        by_url = is_url(settings.keys)
        super().__init__(
            "the keys of --jwt-jwks",
            lambda: read_keys(settings.keys),
            BadKeys,
            "tokens are verified with the keys that were read before",
            look_s=settings.refresh.total_seconds() if by_url else LOOK_S,
            first=NO_KEYS if by_url else None,
        )
        self.changed: Callable[[], None] = lambda: None
        #: By digest of a token: whose it is, and until when, in seconds since 1970.
        self._known: dict[bytes, tuple[Principal, float]] = {}
        self._looked_at = time.monotonic() if not by_url else -LOOK_FOR_UNKNOWN_S
        self._looking = by_url
        if not by_url:
            self._say_keys()

    def principal(self, digest: bytes, token: str) -> Principal:
        """Whose token that is.

        Raises:
            Unauthenticated: nobody's that may call, or no longer.
            KeysMissing: that is not known yet.
        """
        known = self._known.get(digest)
        if known is None:
            known = self._verified(token)
            if len(self._known) >= _MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[digest] = known
        principal, expires = known
        if time.time() >= expires:
            del self._known[digest]
            raise TokenExpired
        return principal

    def expires(self, digest: bytes) -> float | None:
        """Until when a token that was taken is good, in seconds since 1970; None: it is not known."""
        known = self._known.get(digest)
        return None if known is None else known[1]

    def taken(self) -> None:
        """Tokens are verified anew."""
        self._say_keys()
        self._known.clear()
        # Who is told below must not be told to wait for these keys.
        self._looked()
        self.changed()

    async def look(self) -> bool:
        """Look at the keys; whether there are others."""
        self._looking = True
        try:
            return await super().look()
        finally:
            self._looked()

    def pause_s(self) -> float:
        """Seconds until the next look."""
        return min(_AGAIN_S, super().pause_s()) if self.complaint else super().pause_s()

    def _say_keys(self) -> None:
        ids = ", ".join(sorted(map(repr, self.current.by_id)))
        _log.info("tokens of %s are verified with the keys %s", self._settings.issuer, ids)

    def _looked(self) -> None:
        self._looking = False
        self._looked_at = time.monotonic()

    def _verified(self, token: str) -> tuple[Principal, float]:
        try:
            header = jwt.get_unverified_header(token)
        except Exception as error:
            raise TokenRefused("it is not a JWT") from error
        key = self.current.find(header.get("kid", ""))
        if key is None:
            if self._look_soon():
                raise KeysMissing
            raise TokenRefused("its issuer has no such key (kid), or has it no longer")
        if header.get("alg") != key.algorithm or "crit" in header:
            raise TokenRefused(f"it is not signed as its key wants it, with {key.algorithm} and nothing critical")
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={"require": list(_CLAIMS)},
            )
            expires = int(claims["exp"]) + settings.leeway.total_seconds()
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except jwt.InvalidAudienceError:
            raise TokenRefused("it is for somebody else (aud)") from None
        except jwt.InvalidIssuerError:
            raise TokenRefused("it is of another issuer (iss)") from None
        except jwt.ImmatureSignatureError:
            raise TokenRefused("it is not good yet (nbf, iat)") from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenRefused(f"it lacks the claim {error.claim!r}") from None
        except Exception as error:
            raise TokenRefused("its signature is not good, or a claim makes no sense") from error
        return self._principal(claims), expires

    def _principal(self, claims: dict[str, Any]) -> Principal:
        try:
            name = PREFIX + quote(claims["sub"], safe="!#$&'()*+,/:;=?@[]~|")
        except UnicodeEncodeError:
            # JSON can escape halves of letters.
            raise TokenRefused("its subject is no text (sub)") from None
        if name == PREFIX:
            raise TokenRefused("its subject is empty (sub)")
        if len(name) > _LONGEST_NAME:
            raise TokenRefused("its subject is too long (sub)")
        if self._settings.claim not in claims:
            raise TokenRefused(f"it lacks the claim {self._settings.claim!r}, which says what its subject may do")
        try:
            grants, limits = claimed(name, claims[self._settings.claim])
        except BadAuthFile as error:
            raise TokenRefused(f"its claim {self._settings.claim!r} makes no sense: {error}") from error
        return Principal(name, grants, limits)

    def _look_soon(self) -> bool:
        """Whether the keys are being looked at, or will be at once; not too often, for anybody can ask for it."""
        if self._looking or not self.current.by_id:
            return True
        if time.monotonic() - self._looked_at < LOOK_FOR_UNKNOWN_S:
            return False
        self._looking = True
        self.hasten()
        return True
