"""What happens to gRPC when a process forks.

gRPC's core works in threads of its own. A fork copies none of them: in a child of a process in which the core runs, a
call waits for ever. gRPC's own fork support, which stops them, is off (see the package's `__init__`): beside an asyncio
channel it ends one child in six by a signal, and one in fifty never gets out of the fork.

So before a fork the blocking channels are closed, which ends the core; parent and child open others when they next need
one, and the core begins anew in each. Where it cannot be ended - an asyncio channel is open, a call is under way that
must not be cut off, or something else in the process uses gRPC - the child is a stranger to it: it touches nothing of
gRPC, and `check` says so in words when it wants a channel.

All this begins when the package is imported, before it uses gRPC itself; so gRPC is not imported here.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .core_threads import core_is_seen, core_runs

if TYPE_CHECKING:
    import asyncio

    import grpc.aio

#: What gRPC's threads get to end before a fork. They need a few milliseconds; elsewhere in the process somebody else
#: may use gRPC, and then they stay.
_END_SECONDS = 1.0
#: What they get to take their names.
_SEEN_SECONDS = 0.1
_LOOK_SECONDS = 0.002

#: gRPC's own fork support: on unless its core was told otherwise before it was imported.
_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"


class Forkable(Protocol):
    """Something that has to know of forks."""

    def before_fork(self, *, stop: bool) -> None:
        """Run in the parent, before; everything that is locked here must be unlocked in both processes.

        Args:
            stop: end what keeps gRPC running. Otherwise the child cannot use gRPC anyway, and nothing is cut off.
        """

    def after_fork_in_parent(self) -> None:
        """Run in the parent, after."""

    def after_fork_in_child(self) -> None:
        """Run in the child, which has no other thread."""


class Opener(Forkable, Protocol):
    """Something that opens blocking channels."""

    @property
    def is_open(self) -> bool:
        """Whether it has one."""


_lock = threading.Lock()
_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
_openers: weakref.WeakSet[Opener] = weakref.WeakSet()
_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
#: What has been prepared for the fork that is going on.
_forking: list[Forkable] = []
_locked: list[threading.Lock] = []
#: Channels of asyncio, each with its loop.
_asyncio: weakref.WeakKeyDictionary[grpc.aio.Channel, asyncio.AbstractEventLoop] = weakref.WeakKeyDictionary()


class _Process:
    """What is known of this process.

    Attributes:
        stranger: gRPC ran in its parent, or in that one's, when it was forked.
        warned: the warning has been given.
        ended: the core had ended before the fork that is going on.
    """

    stranger = False
    warned = False
    ended = True


def watch(thing: Forkable) -> None:
    """Tell `thing` of every fork, as long as it lives."""
    with _lock:
        _watched.add(thing)


def watch_opener(thing: Opener) -> None:
    """As `watch`; it is told last before a fork: the others may hold a lock of theirs while they take one of its."""
    with _lock:
        _openers.add(thing)


def watch_lock(lock: threading.Lock) -> None:
    """Have every fork wait for `lock`: in the child it is free, and what it guards is whole.

    Whoever holds it waits for nothing else, and watches nothing.
    """
    with _lock:
        _locks.add(lock)


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


def _asyncio_is_open() -> bool:
    """Whether a channel of a living event loop is open: nobody can close it from here."""
    return any(
        not loop.is_closed() and channel.get_state().name != "SHUTDOWN" for channel, loop in tuple(_asyncio.items())
    )


def _before() -> None:
    _lock.acquire()  # one fork at a time, and nothing new to tell of it meanwhile
    _Process.ended = False  # if this is interrupted
    stop = not (_Process.stranger or _asyncio_is_open()) and _can_be_watched()
    for thing in (*_watched, *_openers):
        _forking.append(thing)
        thing.before_fork(stop=stop)
    for lock in tuple(_locks):
        lock.acquire()
        _locked.append(lock)
    _Process.ended = stop and _core_ends()
    if not _Process.ended:
        _warn_of_grpcs_own()


def _over() -> None:
    for lock in _locked:
        lock.release()
    _locked.clear()
    _forking.clear()
    _lock.release()


def _can_be_watched() -> bool:
    """Whether the end of the core could be seen: not on every system, and a core to come may use other names."""
    return not any(opener.is_open for opener in _openers) or _within(_SEEN_SECONDS, core_is_seen)


def _core_ends() -> bool:
    """Wait for that; whether it has happened."""
    return _within(_END_SECONDS, lambda: not core_runs())


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _warn_of_grpcs_own() -> None:
    if _Process.warned or os.environ.get(_SUPPORT, "1").lower() in {"0", "false", "no"}:
        return
    _Process.warned = True
    import logging

    logging.getLogger("dibs").warning(
        "gRPC's own fork support is on and may crash children of this process: "
        "set %s=0, or import dibs before grpc and leave that unset",
        _SUPPORT,
    )


def _in_parent() -> None:
    try:
        for thing in _forking:
            thing.after_fork_in_parent()
    finally:
        _over()


def _in_child() -> None:
    try:
        if not _Process.ended:
            _Process.stranger = True
            for channel in tuple(_asyncio):
                abandon(channel)
            _asyncio.clear()
        for thing in _forking:
            thing.after_fork_in_child()
    finally:
        _over()


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
