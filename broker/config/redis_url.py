"""URLs of Redis: which are refused, how one is read from a file, and what is shown of one: never a password."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_SCHEMES = ("redis", "rediss", "unix")

_FORM = (
    "must be redis://[user:password@]host[:port][/database], the same with rediss://, or unix://[user:password@]/path; "
    "in a user's name or password / # ? @ [ ] are written %2F %23 %3F %40 %5B %5D, and % is %25"
)

#: Most bytes of a file that holds a URL.
_MAX_FILE_BYTES = 64 * 1024


def check_redis_url(url: str) -> str:
    """Give `url` back if it means what it says.

    Raises:
        ValueError: it does not; the text says what is right, and nothing of the URL, which may hold a password.
    """
    if url.partition("://")[0].lower() not in _SCHEMES or "://" not in url:
        raise ValueError("must be a redis://, rediss:// or unix:// URL")
    try:
        parts = urlsplit(url)
        well_formed = "#" not in url and _is_well_formed(parts)
    except ValueError:
        well_formed = False
    if not well_formed:
        raise ValueError(_FORM)
    if parts.scheme != "unix" and not _is_number(unquote(parts.path).strip("/") or "0"):
        raise ValueError("has a database that is no number: redis://host:6379/0")
    return url


def read_redis_url(path: Path) -> str:
    """The URL that is the one line of a file, such as a mounted secret.

    Raises:
        ValueError: it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        lines = content.decode().split()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("holds no text") from None
    if len(lines) != 1 or len(content) > _MAX_FILE_BYTES:
        raise ValueError("must hold one URL on a line, and nothing else")
    return check_redis_url(lines[0])


def shown_redis_url(url: str) -> str:
    """Scheme, host or path, port and database of a URL that `check_redis_url` has let pass."""
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("db", [""])[0]
    if parts.scheme == "unix":
        return f"unix://{parts.path}" + (f"?db={database}" if _is_number(database) else "")
    database = database or unquote(parts.path).strip("/")
    host = parts.hostname or ""
    where = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{where}{port}" + (f"/{database}" if _is_number(database) else "")


def _is_well_formed(parts: SplitResult) -> bool:
    """Whether no part of a password can be taken for the host, the port, the path, or what comes after it."""
    if "@" in parts.query:
        return False
    if parts.scheme == "unix":
        return parts.path.startswith("/") and (not parts.netloc or parts.netloc.endswith("@"))
    # Reading the port checks it.
    return "@" not in parts.path and parts.netloc.count("@") <= 1 and parts.port != -1


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
