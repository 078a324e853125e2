"""The stream to the connector, as long as it is that.

Tasks close descriptors that are not theirs, as libraries do that make daemons; and whatever is opened next gets the
number. What this process has to say must not go there.
"""

from __future__ import annotations

import os
import select
import socket


class OwnStream:
    """A socket that is not used any more when its descriptor has become another one.

    Args:
        stream: the socket.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._number = stream.fileno()
        self._identity = self._found()

    def check(self) -> None:
        """See whether it is still there.

        Raises:
            OSError: somebody has closed it; another one may have its number.
        """
        if self._found() != self._identity:
            raise OSError("a task has closed it, and something else has its descriptor")

    def send(self, data: bytes) -> None:
        """Write all of it; blocks.

        Raises:
            ConnectionError: the connector is gone.
            OSError: the stream is.
        """
        self.check()
        self._stream.sendall(data)

    def fill(self, buffer: bytearray) -> bool:
        """Read as many bytes as the buffer has, without a copy; False: the connector is gone.

        Raises:
            OSError: the stream is.
        """
        self.check()
        with memoryview(buffer) as view:
            at, end = 0, len(view)
            while at < end:
                try:
                    count = self._stream.recv_into(view[at:], 0, socket.MSG_WAITALL)
                except ConnectionError:
                    return False
                if not count:
                    return False
                at += count
        return True

    def waits(self, timeout_s: float) -> bool:
        """Wait for something to read, or the end; whether there is.

        Raises:
            OSError: the stream is gone.
        """
        self.check()
        # Not select(), which knows no descriptors beyond 1,023: a task may have many.
        poll = select.poll()
        poll.register(self._number, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))

    def close(self) -> None:
        """Close this process's end."""
        self._stream.close()

    def _found(self) -> tuple[int, int]:
        status = os.fstat(self._number)
        return status.st_dev, status.st_ino
