"""Where the keys of an issuer may come from."""

from __future__ import annotations

from urllib.parse import urlsplit


class BadKeys(Exception):
    """The keys cannot be had, or do not serve; the text is one sentence that says why."""


_LOCAL = ("localhost", "127.0.0.1", "::1")


def is_url(source: str) -> bool:
    """Whether keys are to be had from a web server, and not from a file."""
    return "://" in source


def is_local(url: str) -> bool:
    """Whether a URL leads to this machine."""
    return urlsplit(url).hostname in _LOCAL


def check_source(source: str) -> str:
    """A source, if keys may be taken from there.

    Raises:
        ValueError: they would come in plaintext from another host, or the URL holds a password.
    """
    if is_url(source):
        parts = urlsplit(source)
        if parts.scheme != "https" and (parts.scheme != "http" or not is_local(source)):
            raise ValueError("must be a file or an https:// URL: keys that come in plaintext can be anybody's")
        if not parts.hostname or "@" in parts.netloc:
            raise ValueError("must be a URL with a host, and without a password")
    return source
