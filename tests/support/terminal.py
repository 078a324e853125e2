"""A program at a terminal: what it draws is read, and keys are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

_LONGEST_S = 30.0
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>])")

#: Ctrl-C comes from the terminal that a session has for its own. (In a preexec_fn this would fork with the threads of
#: gRPC running.)
_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A program that believes to be at a terminal; killed at the end of the with if it still runs.

    Args:
        command: the program.
        env: its environment.
        rows, columns: size of the terminal.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], rows: int = 24, columns: int = 100) -> None:
        # The terminal tells its size; variables of the one that the tests run in would contradict it.
        env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**env, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(theirs)
        self._seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def until(self, text: str) -> str:
        """Reads until a text has appeared, and forgets everything up to it, which is the value."""
        deadline = time.monotonic() + _LONGEST_S
        while text not in self._seen:
            assert self._read(deadline), f"{text!r} has not appeared: {self._seen}"
        before, _, self._seen = self._seen.partition(text)
        return before

    def press(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._ours, keys.encode())

    def end(self) -> tuple[int, str]:
        """Its exit code, when it has ended, and what it has written since the last `until`."""
        deadline = time.monotonic() + _LONGEST_S
        while self._read(deadline):
            pass
        return self.process.wait(_LONGEST_S), self._seen

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(deadline - time.monotonic(), 0.0))
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65_536)
        except OSError:  # Linux says so when nobody has the other end open any more
            return False
        self._seen += _ESCAPES.sub("", data.decode(errors="replace"))
        return bool(data)
