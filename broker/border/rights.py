"""The one table of what each method needs. `docs/security.md` shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from ..config.principals import Role
from . import reaching
from .reaching import Reach

#: Roles of which one is enough.
Need: TypeAlias = frozenset[Role]


def _any_of(*roles: Role) -> tuple[Need, ...]:
    return (frozenset(roles),)


@dataclass(frozen=True, slots=True)
class Right:
    """What a method needs.

    Attributes:
        roles: one of them.
        reach: what a request reaches in its namespace.
        besides: what some requests need, for people; "": all are alike.
        needs: what a request needs, all of it, if they are not all alike.
        anywhere: it is about no namespace, and the role may be of any.
        lasts: it may go on for long, and is looked at again when rights have changed.
        part: of a stream's messages: the field that holds what names a namespace, and stands for a request.
        settles: of a stream's messages: what those without that field reach.
    """

    roles: tuple[Role, ...]
    reach: Callable[[Any], Reach] = reaching.whole
    besides: str = ""
    needs: Callable[[Any], tuple[Need, ...]] = lambda request: ()
    anywhere: bool = False
    lasts: bool = False
    part: str = ""
    settles: Callable[[Any], Reach] | None = None

    @classmethod
    def of(cls, *roles: Role, reach: Callable[[Any], Reach] = reaching.whole, **others: Any) -> Right:
        """A right that all requests need alike, unless `others` says what they need."""
        plain = _any_of(*roles)
        return cls(**{"roles": roles, "reach": reach, "needs": lambda request: plain, **others})


_PRODUCE, _CONSUME, _READ = Role.PRODUCE, Role.CONSUME, Role.READ

#: Contents are for those who may see them, whatever else they may do.
_CONTENT = _any_of(Role.CONTENT)
_INCLUDED = "`content` with `include_content`"


def _including(*roles: Role) -> Callable[[Any], tuple[Need, ...]]:
    plain = _any_of(*roles)
    return lambda request: plain + _CONTENT if request.include_content else plain


def _taking(request: Any) -> tuple[Need, ...]:
    return _any_of(Role.DESTROY) + _CONTENT


def _leasing(request: Any) -> tuple[Need, ...]:
    return _any_of(_CONSUME, _READ) + _any_of(_CONSUME, Role.CONTENT) if request.peek else _any_of(_CONSUME)


#: About the broker as such.
_ABOUT_BROKER = Right.of(Role.SERVER, anywhere=True)
_WATCHING = Right.of(Role.SERVER, _READ, anywhere=True, lasts=True)

_BROKER: dict[str, Right | None] = {
    "Enqueue": Right.of(_PRODUCE, reach=reaching.enqueued),
    "EnqueueStream": Right.of(_PRODUCE, reach=reaching.enqueued, lasts=True, part="request"),
    "Lease": Right.of(
        _CONSUME,
        reach=reaching.leased,
        besides="with `peek`: `consume`, or `read` and `content`",
        needs=_leasing,
        lasts=True,
    ),
    "Work": Right.of(_CONSUME, reach=reaching.leased, lasts=True, part="hello", settles=reaching.worked),
    "Refresh": Right.of(_CONSUME, reach=reaching.entries),
    "Ack": Right.of(_CONSUME, reach=reaching.entries),
    "Nack": Right.of(_CONSUME, reach=reaching.entries),
    "Cancel": Right.of(_PRODUCE, Role.OPERATE, reach=reaching.ids),
    "Result": Right.of(
        _PRODUCE,
        _CONSUME,
        _READ,
        reach=reaching.ids,
        besides=f"{_INCLUDED}; results for `produce`, `consume` or `content`",
        needs=_including(_PRODUCE, _CONSUME, _READ),
        lasts=True,
    ),
}

_ADMIN: dict[str, Right | None] = {
    "ListQueues": Right.of(_READ, reach=reaching.named_queues),
    "SetPriority": Right.of(Role.OPERATE, reach=reaching.queue),
    "PauseQueue": Right.of(Role.OPERATE, reach=reaching.queue),
    "ResumeQueue": Right.of(Role.OPERATE, reach=reaching.queue),
    "ListItems": Right.of(_READ, reach=reaching.queue, besides=_INCLUDED, needs=_including(_READ)),
    "DeleteItems": Right.of(Role.DESTROY, reach=reaching.ids),
    "RedriveSetAside": Right.of(Role.OPERATE, reach=reaching.queue),
    "ClearQueue": Right.of(Role.DESTROY, reach=reaching.queue, lasts=True),
    "ListDeadLetterQueues": Right.of(_READ, reach=reaching.listed),
    "ListDeadLetters": Right.of(_READ, reach=reaching.dead_queue, besides=_INCLUDED, needs=_including(_READ)),
    "TakeDeadLetters": Right.of(
        Role.DESTROY, reach=reaching.dead_queue, besides="`content`, too", needs=_taking, lasts=True
    ),
    "RedriveDeadLetters": Right.of(Role.OPERATE, reach=reaching.dead_queue, lasts=True),
    "PurgeDeadLetters": Right.of(Role.DESTROY, reach=reaching.dead_queue, lasts=True),
    "Flush": Right.of(Role.OPERATE, reach=reaching.flushed, lasts=True),
    "RegisterTasks": Right.of(_CONSUME, reach=reaching.registered),
    # Who calls a task by its name has to know how it is delivered.
    "ListTasks": Right.of(_READ, _PRODUCE, reach=reaching.listed),
    "PutSchedules": Right.of(_CONSUME, reach=reaching.scheduled),
    "ListSchedules": Right.of(_READ, reach=reaching.listed, besides="contents for `content`"),
    "DeleteSchedules": Right.of(Role.DESTROY, reach=reaching.schedules),
    "CommandWorker": Right.of(Role.OPERATE),
    "ListWorkers": Right.of(_READ, reach=reaching.listed),
    "DeleteNamespace": Right.of(Role.DESTROY, lasts=True),
    "GetServerInfo": _ABOUT_BROKER,
}

_LOCK: dict[str, Right | None] = {
    "Acquire": Right.of(Role.LOCK),
    "RefreshLock": Right.of(Role.LOCK),
    "Release": Right.of(Role.LOCK),
    "ListLocks": Right.of(_READ),
}

#: Probes ask without credentials, and learn nothing but whether to send calls here.
_HEALTH: dict[str, Right | None] = {"Check": None, "List": _WATCHING, "Watch": _WATCHING}

_SERVICES: dict[str, dict[str, Right | None]] = {
    "dibs.v1.BrokerService": _BROKER,
    "dibs.v1.AdminService": _ADMIN,
    "dibs.v1.LockService": _LOCK,
    "grpc.health.v1.Health": _HEALTH,
    "grpc.reflection.v1.ServerReflection": {"ServerReflectionInfo": _WATCHING},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _WATCHING},
}

#: By service and method; None: open to everybody.
TABLE: Mapping[tuple[str, str], Right | None] = MappingProxyType(
    {(service, name): right for service, methods in _SERVICES.items() for name, right in methods.items()}
)


def rights_table() -> str:
    """The table as `docs/security.md` shows it."""
    lines = ["| method | role | besides |", "|---|---|---|"]
    for (service, name), right in TABLE.items():
        shown = f"`{service.rpartition('.')[2]}.{name}`" if service.startswith("dibs.") else f"`{service}/{name}`"
        if right is None:
            lines.append(f"| {shown} | none | |")
        else:
            roles = ", ".join(f"`{role}`" for role in right.roles)
            lines.append(f"| {shown} | {roles} | {right.besides} |".replace("|  |", "| |"))
    return "\n".join(lines)
