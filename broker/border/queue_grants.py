"""Rights for some queues of a namespace: whether all that a request reaches is in them.

What is named by an id is looked up right before the call is handled. An item that is put into another queue under the
same id in that moment is reached; its lease token is another one then, and calls that name one change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from dibs.v1 import admin_pb2 as apb

from ..config.principals import Names, Principal, Role
from ..engine.engine import MAX_BATCH, Engine
from ..engine.types import State
from .errors import PermissionDenied
from .reaching import Reach
from .rights import Need


def denied(
    principal: Principal, need: Need, namespace: str = "", queue: str | None = None, *, is_named: bool = True
) -> PermissionDenied:
    """The error of somebody who has none of the roles that would do."""
    roles = [role for role in Role if role in need]
    return PermissionDenied(principal.name, roles, namespace, queue, is_named=is_named)


class Limited:
    """The rights that one principal has for some queues of a namespace only, and that a request needs."""

    def __init__(self, principal: Principal, namespace: str) -> None:
        self._principal = principal
        self._namespace = namespace
        self._scopes: list[tuple[Need, Names]] = []

    def add(self, need: Need, scope: Names) -> None:
        """One more of them."""
        self._scopes.append((need, scope))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._scopes)

    def check_named(self, reach: Reach) -> None:
        """What can be told without a look at what is there. Raises `PermissionDenied`."""
        if reach.whole:
            raise denied(self._principal, self._scopes[0][0], self._namespace, "")
        # A name that is none is told as such by whoever reads the request.
        self._check({name for name in reach.queues if name}, are_named=True)

    async def check_found(self, engine: Engine, reach: Reach) -> None:
        """The rest. Raises `PermissionDenied`."""
        if reach.ids:
            self._check(await _queues_of_items(engine, self._namespace, reach.ids), are_named=False)
        if reach.tasks:
            self._check(await _queues_of_tasks(engine, self._namespace, reach.tasks), are_named=False)
        if reach.schedules or reach.group:
            self._check(await _queues_of_schedules(engine, self._namespace, reach), are_named=False)

    def _check(self, queues: set[str], *, are_named: bool) -> None:
        for need, scope in self._scopes:
            for queue in sorted(queues):
                if queue not in scope:
                    raise denied(self._principal, need, self._namespace, queue, is_named=are_named)


#: Stands for the queue of what cannot be read: in no grant for some queues.
_UNREADABLE = "?"


async def _queues_of_items(engine: Engine, namespace: str, ids: Sequence[str]) -> set[str]:
    wanted = list(dict.fromkeys(id for id in ids if id))
    queues = set()
    for at in range(0, len(wanted), MAX_BATCH):
        for status in await engine.lookup(namespace, wanted[at : at + MAX_BATCH]):
            if status.state is not State.UNKNOWN:
                queues.add(status.queue or _UNREADABLE)
    return queues


async def _queues_of_tasks(engine: Engine, namespace: str, names: Sequence[str]) -> set[str]:
    wanted = list(dict.fromkeys(names))
    queues = set()
    for at in range(0, len(wanted), MAX_BATCH):
        for task in await engine.tasks.get(namespace, wanted[at : at + MAX_BATCH]):
            try:
                queues.add(apb.TaskDefinition.FromString(task.definition).queue or _UNREADABLE)
            except DecodeError:
                queues.add(_UNREADABLE)
    return queues


async def _queues_of_schedules(engine: Engine, namespace: str, reach: Reach) -> set[str]:
    # Redis has no index of them by queue, and there are few.
    names = frozenset(reach.schedules)
    queues = set()
    last = ""
    while True:
        found, last = await engine.schedules.page(namespace, MAX_BATCH, engine.config.reply_bytes, last)
        for one in found:
            if one.name in names or (reach.group and one.group == reach.group):
                queues.add(one.spec.queue if one.spec is not None else _UNREADABLE)
        if not last:
            return queues
