"""Who this broker is, among those on the same Redis."""

from __future__ import annotations

import os
import socket
import time
from importlib import metadata


class Identity:
    """A running broker.

    Attributes:
        started: when, in seconds since 1970.
        id: host:pid:start.
        version: of the program.
    """

    def __init__(self) -> None:
        self.started = time.time()
        self.id = f"{socket.gethostname()}:{os.getpid()}:{self.started:.0f}"
        self.version = metadata.version("dibs")
