"""Locks that fail at once when they are held."""

from __future__ import annotations

from ..errors import FailedPrecondition, NoLock
from ..rpc import lock_operations as locking
from ..rpc.default import default_runner
from ..rpc.flow import Flow, do
from ..rpc.ids import new_id
from ..rpc.runner import AsyncRunner, Runner
from ..rpc.times import Seconds, to_seconds

_HELD = "LOCK_HELD"
_LOST = "LOCK_LOST"


class _Hold:
    """What both faces have in common: the calls, and who we are while we hold it."""

    def __init__(self, name: str, duration: Seconds) -> None:
        self.name = name
        self.duration = to_seconds(duration, "duration")
        if not self.duration:
            raise ValueError("duration must be above 0")
        #: Who holds it, as the broker knows us; empty while we do not.
        self._owner = ""

    def _acquire(self, namespace: str) -> Flow[None]:
        owner = new_id()  # one for each time, so that no lock is taken twice at once
        try:
            yield from do(locking.acquire(namespace, self.name, owner, self.duration))
        except FailedPrecondition as error:
            if error.reason != _HELD:
                raise
            raise NoLock(f"the lock {self.name!r} is held") from error
        self._owner = owner

    def _refresh(self, namespace: str, duration: Seconds | None) -> Flow[None]:
        if not self._owner:
            raise NoLock(f"the lock {self.name!r} is not held here")
        seconds = self.duration if duration is None else to_seconds(duration, "duration")
        try:
            yield from do(locking.refresh(namespace, self.name, self._owner, seconds))
        except FailedPrecondition as error:
            if error.reason != _LOST:
                raise
            self._owner = ""
            raise NoLock(f"the lock {self.name!r} was lost: its time had run out") from error

    def _release(self, namespace: str, raised: BaseException | None) -> Flow[None]:
        owner, self._owner = self._owner, ""
        if not owner:
            return
        if (yield from do(locking.release(namespace, self.name, owner))):
            return
        text = f"the lock {self.name!r} was lost before its end: its time had run out"
        if raised is None:
            raise NoLock(text)
        raised.add_note(text)


class SimpleLock(_Hold):
    """A lock by name, for everybody in the namespace; for a ``with``, which fails at once if it is held.

    It is held for `duration`, unless refreshed; then somebody else may take it, while the body still runs.

    Args:
        conn: the `Dibs` whose connection to use; None: the default instance.
        name: name of the lock, 1-256 printable characters.
        duration: how long it is held without a refresh, 1 ms to 30 days; seconds or a timedelta. Default 1 s.

    Raises:
        TypeError: `conn` is something else, such as an `AsyncDibs`, which has `lock`.
        ValueError: `duration` is not above 0.
        NoLock: at the beginning of the ``with``, if somebody holds it; at its end, if it was lost meanwhile and nobody
            has said so. When the body raises, that goes on, with a note.

    Example::

        with SimpleLock(None, "nightly-report", duration=60) as lock:
            for page in pages:
                ...
                lock.refresh()
    """

    def __init__(self, conn: Runner | None, name: str, duration: Seconds = 1) -> None:
        super().__init__(name, duration)
        if conn is not None and not isinstance(conn, Runner):
            raise TypeError(f"a SimpleLock goes with a Dibs or None, not with {conn!r:.200}; an AsyncDibs has lock()")
        self._dibs = conn if conn is not None else default_runner()

    def __enter__(self) -> SimpleLock:
        """Take it."""
        self._dibs.run(self._acquire(self._dibs.namespace))
        return self

    def __exit__(self, kind: object, raised: BaseException | None, trace: object) -> None:
        """Free it. Raises NoLock if it is not ours any more."""
        self._dibs.run(self._release(self._dibs.namespace, raised))

    def refresh(self, duration: Seconds | None = None) -> None:
        """Start its time anew.

        Args:
            duration: how long from now. Default: as long as it was taken for.

        Raises:
            NoLock: its time had run out, or it is not held.
        """
        self._dibs.run(self._refresh(self._dibs.namespace, duration))


class AsyncLock(_Hold):
    """A `SimpleLock` for asyncio, for an ``async with``. Made by `AsyncDibs.lock`.

    Example::

        async with adibs.lock("nightly-report", duration=60) as lock:
            await lock.refresh()
    """

    def __init__(self, dibs: AsyncRunner, name: str, duration: Seconds = 1) -> None:
        super().__init__(name, duration)
        self._dibs = dibs

    async def __aenter__(self) -> AsyncLock:
        """Take it."""
        await self._dibs.run(self._acquire(self._dibs.namespace))
        return self

    async def __aexit__(self, kind: object, raised: BaseException | None, trace: object) -> None:
        """Free it. Raises NoLock if it is not ours any more."""
        await self._dibs.run(self._release(self._dibs.namespace, raised))

    async def refresh(self, duration: Seconds | None = None) -> None:
        """As `SimpleLock.refresh`."""
        await self._dibs.run(self._refresh(self._dibs.namespace, duration))
