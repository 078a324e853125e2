"""What others write to this process's stderr, gRPC's core above all, as lines of the log.

gRPC writes past Python's logging, in a form of its own; in a log of JSON each such line would be one that no program
can read. While this is in place, the descriptor of stderr is a pipe, and what comes out of it is logged. What is
written in the moment in which the process dies is lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator

_log = logging.getLogger("dibs.broker.stderr")

_STDERR = 2
#: Longest line, in bytes; a longer one is logged in parts.
_LONGEST = 8192


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Log what is written to the descriptor of stderr inside the with; `sys.stderr` is what it was.

    The log must be sent to `sys.stderr` inside the with.
    """
    before = sys.stderr
    kept = os.dup(_STDERR)
    outlet, inlet = os.pipe()
    os.dup2(inlet, _STDERR)
    os.close(inlet)
    sys.stderr = os.fdopen(os.dup(kept), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    reader = threading.Thread(target=_follow, args=(outlet,), name="dibs-stray-lines", daemon=True)
    reader.start()
    try:
        yield
    finally:
        # The last writer of the pipe is gone with this, unless a child still has it.
        os.dup2(kept, _STDERR)
        os.close(kept)
        reader.join(1)
        sys.stderr = before


def _follow(outlet: int) -> None:
    with os.fdopen(outlet, "rb") as lines:
        while line := lines.readline(_LONGEST):
            if text := line.decode(errors="backslashreplace").strip():
                _log.warning("%s", text)
