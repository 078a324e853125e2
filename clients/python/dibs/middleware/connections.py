"""Connections of Django to databases, around tasks as around requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..tasks.context import RunningTask
from ..tasks.middleware import Middleware
from .missing import needs


class CloseOldConnections(Middleware):
    """Closes connections to databases that are too old or broken, before and after each run, as around requests.

    A worker lives for long: without this it would keep a connection that the database has closed, and every task after
    that would fail. Around ``async def`` tasks it is done in the thread in which Django keeps connections for async
    code.

    Inside of a transaction nothing is closed, so that tests with Django's ``TestCase`` and `dibs_eager` keep theirs.

    Raises:
        DibsError: Django is not installed.

    Example::

        dibs.use(CloseOldConnections())
    """

    def __init__(self) -> None:
        try:
            from asgiref.sync import sync_to_async
            from django.db import close_old_connections, connections
        except ModuleNotFoundError as error:
            raise needs("CloseOldConnections", "django", error) from error

        def close() -> None:
            if not any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):
                close_old_connections()

        self._close: Callable[[], None] = close
        self._close_async = sync_to_async(close)

    def run(self, task: RunningTask, next: Callable[[RunningTask], Any]) -> Any:
        """Close them before and after."""
        with self._closed():
            return next(task)

    async def run_async(self, task: RunningTask, next: Callable[[RunningTask], Any]) -> Any:
        """Likewise."""
        await self._close_async()
        try:
            return await next(task)
        finally:
            await self._close_async()

    @contextmanager
    def _closed(self) -> Iterator[None]:
        self._close()
        try:
            yield
        finally:
            self._close()
