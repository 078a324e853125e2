"""The two ends between a connector and a task process: a stream of frames, and shared memory."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from .memory import SharedMemory, new_memory

#: Bytes that the kernel is asked to hold each way, so that a batch is one write.
_BUFFER = 1 << 20


@dataclass(frozen=True)
class End:
    """One end.

    Attributes:
        socket: carries the frames.
        memory: what both see.
    """

    socket: socket.socket
    memory: SharedMemory


@dataclass(frozen=True)
class FarEnd:
    """The end of a process that is to be started, which inherits it.

    Attributes:
        socket: of the stream.
        memory: file descriptor of the shared memory.
    """

    socket: socket.socket
    memory: int

    @property
    def descriptors(self) -> tuple[int, int]:
        """What the process inherits: stream, memory."""
        return self.socket.fileno(), self.memory

    def close(self) -> None:
        """Close this process's copies. Nobody else keeps the ends open, or a death would not be seen."""
        self.socket.close()
        os.close(self.memory)


def new_pair() -> tuple[End, FarEnd]:
    """Both ends. They close when a program is executed, but for what is handed to it by name."""
    with ExitStack() as undo:
        ours, theirs = (undo.enter_context(one) for one in socket.socketpair())
        for one in (ours, theirs):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        memory = new_memory()
        undo.callback(os.close, memory)
        pair = End(ours, SharedMemory(os.dup(memory))), FarEnd(theirs, memory)
        undo.pop_all()
    return pair


def inherited(stream: int, memory: int) -> End:
    """The end that this process was started with; its own children do not inherit it."""
    os.set_inheritable(stream, False)
    return End(socket.socket(fileno=stream), SharedMemory(memory))
