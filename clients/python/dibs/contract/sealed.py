"""Payloads and results that codecs have encoded: what stands before their bytes, and how they are shown.

A mark that neither JSON nor UTF-8 begins with, the length of a text as one byte, the text, and then what the codecs
made. The text names the codecs in the order in which they were applied, each with its key if it has one:
``zlib,aes-gcm:2026-11``. Who knows nothing of codecs cannot take such bytes for something else.
"""

from __future__ import annotations

import re

#: What encoded bytes begin with; its last byte is the number of this format.
MARK = b"\xffdibs\x01"

_NAME = re.compile(r"[a-z0-9-]{1,32}")
_KEY = re.compile(r"[A-Za-z0-9_.@/-]{1,64}")
_LONGEST_STEPS = 255

#: A codec that was applied: its name, and the name of its key; empty: it has none.
Step = tuple[str, str]


def check_step(name: str, key: str) -> None:
    """Check the names of a codec and of its key.

    Raises:
        ValueError: one of them is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of a codec has 1-32 of a-z, 0-9 and -, not {name!r}")
    if key and not _KEY.fullmatch(key):
        raise ValueError(f"the name of a key has 1-64 letters, digits and _.@/-, not {key!r}")


def written(step: Step) -> str:
    """A step as it stands in the text."""
    name, key = step
    return f"{name}:{key}" if key else name


def seal(steps: str, data: bytes) -> bytes:
    """What codecs made, with what says so before it.

    Raises:
        ValueError: so many codecs, with names so long, cannot be named.
    """
    text = steps.encode()
    if len(text) > _LONGEST_STEPS:
        raise ValueError(f"the codecs of a payload are named in {_LONGEST_STEPS} characters, not in {len(text)}")
    return b"%b%c%b%b" % (MARK, len(text), text, data)


def is_sealed(data: bytes) -> bool:
    """Whether codecs have made these bytes."""
    return data.startswith(MARK)


def unseal(data: bytes) -> tuple[str, bytes] | None:
    """The text and what follows it; None: no codec has made this.

    Raises:
        ValueError: the mark is there, and what follows is damaged.
    """
    if not is_sealed(data):
        return None
    begin = len(MARK) + 1
    end = begin + data[begin - 1] if len(data) >= begin else begin
    text = data[begin:end].decode("ascii", "replace")
    if len(data) < end or not steps_of(text):
        raise ValueError("what says how it was encoded is damaged")
    return text, data[end:]


def steps_of(text: str) -> list[Step]:
    """The steps that a text names, in the order in which they were applied; none: it is not such a text."""
    steps: list[Step] = []
    for part in text.split(","):
        name, colon, key = part.partition(":")
        if not _NAME.fullmatch(name) or (colon and not _KEY.fullmatch(key)):
            return []
        steps.append((name, key))
    # Nobody writes one twice, and fifty of them could keep a reader busy.
    return steps if len({name for name, _ in steps}) == len(steps) else []


def shown(data: bytes) -> str:
    """What stands for encoded bytes where they cannot be read; empty: no codec has made them."""
    try:
        found = unseal(data)
    except ValueError:
        return f"<encoded, and damaged: {len(data)} bytes>"
    if found is None:
        return ""
    steps, content = found
    keys = [key for _, key in steps_of(steps) if key]
    how = f"encrypted with key {keys[-1]}" if keys else f"encoded with {steps}"
    return f"<{how}: {len(content)} bytes>"
