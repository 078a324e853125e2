"""Text that somebody else wrote, made harmless for a terminal, a line of a log, and JSON.

Names, headers, payloads and errors are whatever a client sends. What would steer a terminal, forge a line, change the
order in which text is read, or has no UTF-8, is shown as its escape: C0 and C1 controls, bidirectional controls, line
and paragraph separators, lone surrogates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_BEYOND_ASCII = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(rf"[\x00-\x08\x0b-\x1f{_BEYOND_ASCII}]")
#: In JSON its own rules have escaped the others.
_UNSAFE_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")


def plain(text: str, limit: int = 0) -> str:
    """Show what is unsafe in a text as its escape, and leave line breaks and tabs; twice is the same as once.

    Args:
        text: anything.
        limit: cut off after so many characters, with an ellipsis; 0 for never.
    """
    # What will be cut off is not looked at: an escape is never shorter than what it stands for.
    safe = _UNSAFE.sub(_escape, text[: limit + 1] if limit else text)
    return safe if not limit or len(safe) <= limit else safe[: limit - 1] + "…"


def one_line(text: str, limit: int = 0) -> str:
    """`plain` text without line breaks and tabs."""
    return plain(" ".join(text.split()), limit)


def json_text(value: object, *, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    r"""JSON with little white space; what is unsafe stands as ``\u`` escapes, so that it reads back as it was.

    Args:
        value: to write.
        indent: blanks for each level; None: one line.
        default: makes something that JSON knows of what it does not, as for `json.dumps`.

    Raises:
        TypeError, ValueError: JSON cannot express it.
    """
    separators = (",", ": ") if indent else (", ", ": ")
    written = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, default=default)
    # Outside of its strings JSON has none of these.
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
