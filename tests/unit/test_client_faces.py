"""What there is for blocking programs and for asyncio takes the same arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import dibs
from dibs.client.locks import AsyncLock
from dibs.data.aio_data import AsyncData
from dibs.tasks.handles import AsyncEnqueuedTask
from dibs.tasks.task import AsyncTask

FACES = {
    dibs.Dibs: dibs.AsyncDibs,
    dibs.Data: AsyncData,
    dibs.Task: AsyncTask,
    dibs.EnqueuedTask: AsyncEnqueuedTask,
    dibs.SimpleLock: AsyncLock,
}
#: Their arguments by position are rpqueue's, which had no asyncio.
DECORATORS = {"task", "periodic_task", "cron_task"}
#: Of one face only: an AsyncDibs is told where to connect, or of which Dibs it is, when it is made; it is no worker.
#: Transactions of Django are blocking.
ALONE = {"connect", "execute_tasks", "of", "on_commit", "plain", "reconnect", "registry", "run_now"}


def names(face: type) -> set[str]:
    return {name for name in dir(face) if not name.startswith("_")}


def methods(face: type) -> list[tuple[Callable[..., Any], Callable[..., Any]]]:
    both = (names(face) & names(FACES[face])) - DECORATORS
    pairs = [(getattr(face, name), getattr(FACES[face], name)) for name in sorted(both)]
    return [pair for pair in pairs if callable(pair[0])]


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_both_faces_have_the_same_names(face: type) -> None:
    assert names(face) ^ names(FACES[face]) <= ALONE


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [pair for face in FACES for pair in methods(face)],
    ids=lambda method: method.__qualname__,
)
def test_both_faces_take_the_same(blocking: Callable[..., Any], awaited: Callable[..., Any]) -> None:
    assert inspect.signature(blocking).parameters == inspect.signature(awaited).parameters
