"""`python mortal.py PARENT COMMAND...`: COMMAND in this process's place, killed by the kernel when the parent ends.

Of the standard library only, since it runs before a program that must not wait for it. Where the system cannot do that
(it is Linux that can) the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def mortal(command: list[str]) -> list[str]:
    """What to start so that `command` runs and does not outlive this process, nor the thread that starts it."""
    return [sys.executable, "-S", "-E", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(sys.argv[1]):
            sys.exit("its parent has ended")
    os.execvp(sys.argv[2], sys.argv[2:])
