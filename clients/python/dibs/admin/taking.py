"""Taking dead letters out of their queue: at most once, and yet not lost with an answer that did not arrive."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence

from ..errors import BrokerError
from ..rpc import admin_operations as admin
from ..rpc import waiting
from ..rpc.flow import LONGEST_WAIT_SECONDS, Flow, do
from ..rpc.ids import new_id
from ..v1.admin_pb2 import ItemInfo
from ..v1.types_pb2 import QueueKind

_log = logging.getLogger("dibs")


class Taking:
    """Takes dead letters of one queue. Safe to use from any thread.

    Args:
        queue: the dead-letter queue.
        kind: of its items.
    """

    def __init__(self, queue: str, kind: QueueKind.ValueType) -> None:
        self._queue = queue
        self._kind = kind
        #: Requests that got no answer, of which process: the next one asks for that answer again.
        self._unanswered: list[tuple[int, str]] = []

    def take(self, namespace: str, most: int, wait: float) -> Flow[tuple[Sequence[ItemInfo], str]]:
        """The letters, and the id of the request that took them, to be confirmed when they are where they should be.

        Args:
            namespace: of the queue.
            most: letters wanted.
            wait: seconds to wait for a first one.
        """
        request_id = self._unanswered_request() or new_id()
        items: Sequence[ItemInfo] = ()
        for part in waits(wait):
            try:
                items = yield from do(
                    admin.take_dead_letters(namespace, self._queue, self._kind, most, part, request_id)
                )
            except BaseException:
                # What it took, if anything, is kept there for a while: the next call asks for it under the same id.
                self._unanswered.append((os.getpid(), request_id))
                raise
            if items:
                break
        return items, request_id

    def confirm(self, namespace: str, request_id: str) -> Flow[None]:
        """Say that letters have arrived, so that the broker keeps them no longer."""
        try:
            yield from do(admin.confirm_dead_letters(namespace, self._queue, self._kind, request_id))
        except BrokerError as error:
            # They are here all the same; the broker forgets them by itself in ten minutes.
            _log.info("the broker did not hear that dead letters of %s have arrived: %s", self._queue, error)

    def _unanswered_request(self) -> str:
        """The id of a request of this process that got no answer; "" none. It is the caller's from here on."""
        while self._unanswered:
            try:
                process, request_id = self._unanswered.pop()
            except IndexError:  # another thread was quicker
                break
            if process == os.getpid():
                return request_id
        return ""


def waits(total: float) -> Iterator[float]:
    """A wait in parts that one request each may take; at least one part, of no length if there is no wait."""
    deadline = waiting.now() + total
    left = total
    while True:
        yield min(left, LONGEST_WAIT_SECONDS)
        left = deadline - waiting.now()
        if left <= 0:
            return
