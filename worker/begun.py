"""How far items have come in a task process: a byte for each position, in memory that its connector sees.

A slot writes it, so that nothing has to be told for an item that begins; the connector reads it when the process has
died. A position is the name that an item has between the two; it is used again when the item has been reported.
"""

from __future__ import annotations

import mmap
import os
import tempfile

#: Positions of a process. More than it can hold: 9,000 slots, and 8,000 ahead for each sort of them.
RING = 65_536

#: The function has not been called.
NOT_BEGUN = 0
#: It has been, or is about to be.
BEGUN = 1
#: It has returned, and there is only the plain success to tell.
ENDED = 2


def new_memory() -> int:
    """Memory with every position at `NOT_BEGUN`: a file descriptor that two processes can map."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("dibs-begun")
    else:  # macOS
        with tempfile.TemporaryFile(prefix="dibs-begun-") as file:
            memory = os.dup(file.fileno())
    os.ftruncate(memory, RING)
    return memory


def mapped(memory: int) -> memoryview:
    """The bytes, one for each position; the descriptor is closed."""
    try:
        return memoryview(mmap.mmap(memory, RING))
    finally:
        os.close(memory)
