"""`python -m dibs.cli.child PARENT WORDS...`: `dibs WORDS...` as a child that does not outlive its parent.

Where the system can do that (Linux) the kernel tells it to stop in peace when the parent dies, whatever that dies of.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from . import main

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when its parent ends; leave at once if it has ended already.

    Args:
        parent: process id of the parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)


if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)))
    main()
