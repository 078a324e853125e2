"""Tasks that workers registered, for callers that do not have their code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .connections import Argument
from .quotas import QuotaWatch, checked
from .scripts import Call


class RegisteredTask(NamedTuple):
    """A task, registered last at `registered_us`; the definition is for the caller to read."""

    name: str
    registered_us: int
    definition: bytes


class Tasks:
    """The registered tasks of all namespaces.

    Args:
        call: runs a script.
        create: the same for what makes a namespace one that is in use.
        retention_us: how long a task is known after its last registration.
        quotas: how many there may be.
    """

    def __init__(self, call: Call, create: Call, retention_us: int, quotas: QuotaWatch) -> None:
        self._call = call
        self._create = create
        self._retention_us = retention_us
        self._quotas = quotas

    async def register(self, namespace: str, tasks: Sequence[tuple[str, bytes]]) -> None:
        """Note 1 to 1,000 tasks by name, with their definitions.

        Raises:
            QuotaExceeded: there would be too many; none was noted.
        """
        args: list[Argument] = [self._retention_us, len(tasks), self._quotas.of(namespace).tasks]
        for task in tasks:
            args += task
        checked(namespace, await self._create("register_tasks", namespace, args))

    async def get(self, namespace: str, names: Sequence[str]) -> list[RegisteredTask]:
        """Those of 1 to 1,000 tasks that are registered, in the order of the names."""
        found, values = await self._call("get_tasks", namespace, [len(names), *names])
        return [_task(name, value) for name, value in zip(found, values, strict=True)]

    async def page(self, namespace: str, wanted: int, after: str = "") -> tuple[list[RegisteredTask], str]:
        """Registered tasks by name, and the name after which to go on ("" the end)."""
        names, values, _, last = await self._call("list_tasks", namespace, [wanted, after])
        return [_task(name, value) for name, value in zip(names, values, strict=True)], last.decode()


def _task(name: bytes, value: bytes) -> RegisteredTask:
    registered, _, definition = value.partition(b" ")
    # What another version may have written is told as far as it can be.
    return RegisteredTask(name.decode(), int(registered) if registered.isdigit() else 0, definition)
