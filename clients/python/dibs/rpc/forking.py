"""What happens to gRPC when a process forks.

gRPC's core works in threads of its own. A fork copies none of them: in a child of a process in which the core runs, a
call waits for ever. gRPC's own fork support, which stops them, is off (see the package's `__init__`): beside an asyncio
channel it ends one child in six by a signal, and one in fifty never gets out of the fork.

So before a fork the blocking channels are closed, which ends the core; parent and child open others when they next need
one, and the core begins anew in each. Where it cannot be ended - an asyncio channel is open, a call is under way that
must not be cut off, or something else in the process uses gRPC - the child is a stranger to it: it touches nothing of
gRPC, and `check` says so in words when it wants a channel.

A process that has opened no channel, and one in which the core cannot be ended, takes no lock and waits for nothing.
The others take locks in one order: `_one_fork`, what is watched, openers. `_lock` is held for a step or two and
never while another is taken. No wait is without an end: where a lock is not to be had the fork goes on without, and
the child is a stranger. No lock is free again in a child by itself; there everybody makes a new one.

All this begins when the package is imported, before it uses gRPC itself; so gRPC is not imported here.
"""

from __future__ import annotations

# These tell of forks, too, and their handlers take locks. Imported before ours are registered, theirs run after ours:
# their locks are not held while we wait, and are not let go by a fork that began before they were registered.
import concurrent.futures.thread  # noqa: F401
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

from . import greenlets
from .core_threads import can_see, core_is_seen, core_runs

if TYPE_CHECKING:
    import asyncio

    import grpc.aio

_log = logging.getLogger("dibs")

#: What gRPC's threads get to end before a fork. They need a few milliseconds, on a busy machine a second.
_END_SECONDS = 5.0
#: The same when they did not end before the last fork: somebody else in the process uses gRPC, and then they stay.
_END_AGAIN_SECONDS = 1.0
#: What they get to take their names.
_SEEN_SECONDS = 1.0
_LOOK_SECONDS = 0.002
#: How long a fork waits for a lock. Who holds it waits for nothing, as a rule.
_HOLD_SECONDS = 2.0

#: gRPC's own fork support: on unless its core was told otherwise before it was imported.
_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"


class GivenUp(Exception):
    """The child cannot have gRPC."""


class Lock(Protocol):
    """What can be held."""

    def acquire(self, *, timeout: float) -> bool:
        """Take it; whether that was possible in so many seconds."""

    def release(self) -> None:
        """Let it go."""


#: Takes a lock for as long as a fork is going on. Raises GivenUp if it is not to be had.
Hold: TypeAlias = Callable[[Lock], None]


class Forkable(Protocol):
    """Something that has to know of forks."""

    def before_fork(self, hold: Hold) -> None:
        """Run in the parent, before: end what keeps gRPC running, and `hold` what others would begin it anew with.

        It is not called if the child cannot use gRPC anyway.

        Raises:
            GivenUp: gRPC has to go on.
        """

    def after_fork_in_parent(self) -> None:
        """Run in the parent, after, if the above did. What it held is free again."""

    def after_fork_in_child(self) -> None:
        """Run in any child, which has no other thread. Locks are to be made anew: one of those may have held them."""


class Opener(Forkable, Protocol):
    """Something that opens blocking channels."""

    @property
    def is_open(self) -> bool:
        """Whether it has one."""


class Mutex:
    """A lock that is free in a child, whoever held it in the parent. For what is changed in one step."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        watch(self)

    def __enter__(self) -> None:
        """Take it."""
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Let it go."""
        self._lock.release()

    def before_fork(self, hold: Hold) -> None:
        """What it guards is whole in the child, too, unless that cannot use gRPC."""
        hold(self._lock)

    def after_fork_in_parent(self) -> None:
        """Nothing has changed."""

    def after_fork_in_child(self) -> None:
        """Make it anew."""
        self._lock = threading.Lock()


class _Process:
    """What is known of this process.

    Attributes:
        opened: channels that it has begun to open so far.
        opening: those of them that are being opened right now.
        stranger: gRPC ran in its parent, or in that one's, when it was forked.
        kept: the core did not end before the last fork, although that waited.
        warned: the warning has been given.
    """

    opened = 0
    opening = 0
    stranger = False
    kept = False
    warned = False


#: Guards what is known and watched. The same thread may need it again, in what the garbage collector runs.
_lock = threading.RLock()
_one_fork = threading.Lock()
_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
_openers: weakref.WeakSet[Opener] = weakref.WeakSet()
#: Channels of asyncio, each with its loop.
_asyncio: weakref.WeakKeyDictionary[grpc.aio.Channel, asyncio.AbstractEventLoop] = weakref.WeakKeyDictionary()


def watch(thing: Forkable) -> None:
    """Tell `thing` of every fork, as long as it lives."""
    with _lock:
        _watched.add(thing)


def watch_opener(thing: Opener) -> None:
    """As `watch`; it is told last before a fork: the others may hold a lock of theirs while they take one of its."""
    with _lock:
        _openers.add(thing)


@contextmanager
def opening() -> Iterator[None]:
    """Inside the with, a channel is opened. A fork that does not know of it finds out in the child.

    Raises:
        DibsError: gRPC does not work here; this process was forked from one in which it ran on.
    """
    check()
    with _lock:
        _Process.opened += 1
        _Process.opening += 1
    try:
        yield
    finally:
        with _lock:
            _Process.opening -= 1


def check() -> None:
    """Make sure that gRPC can be used in this process.

    Raises:
        DibsError: it was forked from one in which gRPC ran on.
    """
    if _Process.stranger:
        from ..errors import DibsError

        raise DibsError(
            "gRPC was in use when this process was forked and does not work in it: start it by spawn or forkserver "
            "instead of fork, or close every AsyncDibs and all else that uses gRPC before the fork"
        )


def opened(channel: grpc.aio.Channel, loop: asyncio.AbstractEventLoop) -> None:
    """Note a channel that has just been opened for that event loop."""
    with _lock:
        _asyncio[channel] = loop


def abandon(thing: object) -> None:
    """Keep `thing` for good, so that its end runs no code: in a child it would touch what is the parent's.

    A list would be emptied when the interpreter ends; one reference too many is not.
    """
    if thing is not None:
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class _Fork:
    """A fork that this thread is at.

    Attributes:
        at_rest: gRPC does not run.
    """

    def __init__(self) -> None:
        self.at_rest = False
        self._opened = 0
        #: What is to be done in the parent, from the last to the first.
        self._undo = ExitStack()

    def begin(self) -> None:
        """End gRPC, if that can be done."""
        self._opened = _Process.opened
        if not self._opened:
            self.at_rest = not _somebody_uses_grpc()
        elif not _asyncio_is_open():
            try:
                self._prepare()
            except GivenUp:
                self.at_rest = False
            if not self.at_rest:
                self.over()

    def _prepare(self) -> None:
        self._hold(_one_fork)
        with _lock:
            watched, openers = tuple(_watched), tuple(_openers)
        if not _can_be_watched(openers):
            return
        for thing in (*watched, *openers):
            self._undo.callback(thing.after_fork_in_parent)
            thing.before_fork(self._hold)
        self._opened = _Process.opened
        self.at_rest = _core_ends()

    def _hold(self, lock: Lock) -> None:
        if not lock.acquire(timeout=_HOLD_SECONDS):
            raise GivenUp
        self._undo.callback(lock.release)

    def over(self) -> None:
        """Let others go on. May be called twice."""
        self._undo.close()

    def stays_at_rest(self) -> bool:
        """Whether nobody has opened a channel since."""
        return self.at_rest and self._opened == _Process.opened


class _Here(threading.local):
    """Forks that this thread is at: more than one if the handler of a signal forks, too."""

    def __init__(self) -> None:
        self.forks: list[_Fork] = []


_here = _Here()


def _somebody_uses_grpc() -> bool:
    """Whether the core runs in a process in which we have not used it."""
    return "grpc" in sys.modules and core_is_seen()


def _asyncio_is_open() -> bool:
    """Whether a channel of a living event loop is open: nobody can close it from here."""
    with _lock:
        channels = tuple(_asyncio.items())
    return any(not loop.is_closed() and channel.get_state().name != "SHUTDOWN" for channel, loop in channels)


def _can_be_watched(openers: tuple[Opener, ...]) -> bool:
    """Whether the end of the core could be seen: not on every system, and a core to come may use other names."""
    return not any(opener.is_open for opener in openers) or (can_see() and _within(_SEEN_SECONDS, core_is_seen))


def _core_ends() -> bool:
    """Wait for that; whether it has happened. Not for long if it did not the last time."""
    ended = _within(_END_AGAIN_SECONDS if _Process.kept else _END_SECONDS, _is_at_rest)
    _Process.kept = not (ended or _asyncio_is_open())
    return ended


def _is_at_rest() -> bool:
    return not (_Process.opening or core_runs()) and greenlets.at_rest()


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        # An asyncio channel that is opened meanwhile stays.
        if time.monotonic() > deadline or _asyncio_is_open():
            return False
        time.sleep(_LOOK_SECONDS)  # gRPC tells nobody that its threads have ended
    return True


def _warn_of_grpcs_own() -> None:
    if _Process.warned or os.environ.get(_SUPPORT, "1").lower() in {"0", "false", "no"}:
        return
    _Process.warned = True
    _log.warning(
        "gRPC's own fork support is on and may crash children of this process: "
        "set %s=0, or import dibs before grpc and leave that unset",
        _SUPPORT,
    )


def _before() -> None:
    fork = _Fork()
    _here.forks.append(fork)
    if not _Process.stranger:
        fork.begin()
    if not fork.at_rest:
        _warn_of_grpcs_own()


def _in_parent() -> None:
    if _here.forks:
        _here.forks.pop().over()


def _in_child() -> None:
    global _lock, _one_fork
    _lock, _one_fork = threading.RLock(), threading.Lock()
    if not (_here.forks and _here.forks[-1].stays_at_rest()):
        _Process.stranger = True
    _here.forks.clear()
    _Process.opened = _Process.opening = 0
    _Process.kept = False
    for channel in tuple(_asyncio):
        abandon(channel)
    _asyncio.clear()
    for thing in (*_watched, *_openers):
        thing.after_fork_in_child()


def _register() -> None:
    """Once, so that a child knows of whatever used gRPC in its parent.

    What runs before a fork runs in the reverse order of its registration. gRPC registers its own, if its fork support
    is on, when its first object is made, and stops its threads where they are: ours must run before that.
    """
    if os.environ.get(_SUPPORT, "0").lower() not in {"0", "false", "no"}:
        import grpc

        grpc.insecure_channel("unix:/nonexistent").close()  # connects to nothing
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


_register()
