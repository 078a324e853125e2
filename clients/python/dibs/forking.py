"""What happens to open connections when a process forks.

gRPC survives a fork in the child only if nothing of it is busy at that moment, and only if it was told
before it was first imported (see the package's `__init__`). So whatever holds gRPC state registers here:
before a fork it stops what keeps gRPC busy, and in the child it starts anew.

What runs before a fork runs in the reverse order of its registration, and gRPC registers its own when the first
channel is made. It then stops its threads where they are, so ours must come after it in order to run before it.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

import grpc


class Forkable(Protocol):
    """Something that has to know of forks."""

    def before_fork(self) -> None:
        """Runs in the parent, before; everything that is locked here must be unlocked in both processes."""

    def after_fork_in_parent(self) -> None:
        """Runs in the parent, after."""

    def after_fork_in_child(self) -> None:
        """Runs in the child, which has no other thread."""


_lock = threading.Lock()
_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
_watched_last: weakref.WeakSet[Forkable] = weakref.WeakSet()
_forking: list[Forkable] = []
_abandoned: list[object] = []
#: Has an entry when the handlers are registered.
_registered: list[bool] = []


def watch(thing: Forkable, *, last: bool = False) -> None:
    """Tell `thing` of every fork, as long as it lives.

    Args:
        thing: what to tell.
        last: prepare it after the others: they may hold a lock of theirs while they take one of its.
    """
    with _lock:
        if not _registered:
            grpc.insecure_channel("unix:/nonexistent").close()  # connects to nothing; makes gRPC register
            os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
            _registered.append(True)
        (_watched_last if last else _watched).add(thing)


def abandon(thing: object) -> None:
    """Keep `thing` for good, so that its end runs no code: in a child it would touch what is the parent's."""
    if thing is not None:
        _abandoned.append(thing)


def _before() -> None:
    _lock.acquire()  # one fork at a time
    _forking[:] = [*_watched, *_watched_last]
    for thing in _forking:
        thing.before_fork()


def _in_parent() -> None:
    for thing in _forking:
        thing.after_fork_in_parent()
    _forking.clear()
    _lock.release()


def _in_child() -> None:
    for thing in _forking:
        thing.after_fork_in_child()
    _forking.clear()
    _lock.release()
