"""Who may do what: roles, grants, and the principals that have them."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Scopes that are remembered of one principal; namespaces come from the wire, and there may be any number.
_MOST_REMEMBERED = 1024


class Role(enum.StrEnum):
    """What a grant allows; `broker/border/rights.py` has the methods."""

    PRODUCE = "produce"
    CONSUME = "consume"
    LOCK = "lock"
    READ = "read"
    CONTENT = "content"
    OPERATE = "operate"
    DESTROY = "destroy"
    SERVER = "server"
    ADMIN = "admin"


#: Roles that hold others.
_HELD = {Role.OPERATE: {Role.READ}, Role.ADMIN: set(Role)}


def with_held(roles: Iterable[Role]) -> frozenset[Role]:
    """Roles, and those that they hold."""
    found = set(roles)
    for role in tuple(found):
        found |= _HELD.get(role, set())
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Names:
    """A set of names: some, and all that begin with something.

    Attributes:
        exact: names.
        prefixes: beginnings; "" is that of every name.
    """

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Names:
        """Names as people write them: `mail`, `mail.*` (all that begin with `mail.`) or `*`."""
        found = tuple(patterns)
        return cls(
            frozenset(one for one in found if not one.endswith("*")),
            tuple(one[:-1] for one in found if one.endswith("*")),
        )

    @property
    def everything(self) -> bool:
        """Whether every name is in it."""
        return "" in self.prefixes

    def __contains__(self, name: str) -> bool:
        """Whether a name is in it."""
        return name in self.exact or name.startswith(self.prefixes)

    def __bool__(self) -> bool:
        """Whether anything is in it."""
        return bool(self.exact or self.prefixes)

    def __or__(self, other: Names) -> Names:
        """What is in either."""
        return Names(self.exact | other.exact, self.prefixes + other.prefixes)


#: Every name.
EVERYTHING = Names.of("*")


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights in namespaces.

    Attributes:
        namespaces: where; every name that there could be, used or not.
        roles: what, with the roles that these hold.
        queues: of which queues.
    """

    namespaces: Names
    roles: frozenset[Role]
    queues: Names = EVERYTHING


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one principal may use of a broker; None: as much as there is.

    Attributes:
        calls_per_second: how many calls it may begin, on average.
        burst: how many at once, after a pause; None: as many as in a second.
        streams: how many streams it may have open.
        in_flight_bytes: bytes of requests that are under way.
    """

    calls_per_second: float | None = None
    burst: int | None = None
    streams: int | None = None
    in_flight_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NamespaceLimits:
    """How much one namespace may hold; None: as much as there is room for."""

    max_items: int | None = None
    max_bytes: int | None = None
    max_queues: int | None = None
    max_schedules: int | None = None
    max_locks: int | None = None
    max_tasks: int | None = None


@dataclass(frozen=True, eq=False)
class Principal:
    """Somebody who calls.

    Attributes:
        name: for operators and logs; unique.
        grants: what it may do.
        limits: how much of the broker it may use.
    """

    name: str
    grants: tuple[Grant, ...]
    limits: CallLimits = CallLimits()
    _scopes: dict[tuple[str, frozenset[Role]], Names] = field(default_factory=dict, repr=False)

    def scope(self, namespace: str, roles: frozenset[Role]) -> Names:
        """The queues of a namespace for which it has at least one of these roles; empty: it has none of them."""
        key = namespace, roles
        found = self._scopes.get(key)
        if found is None:
            found = Names()
            for grant in self.grants:
                if namespace in grant.namespaces and not roles.isdisjoint(grant.roles):
                    found |= grant.queues
            # Asked for with every call. What it may not do is worked out anew: there is more of that.
            if found and len(self._scopes) < _MOST_REMEMBERED:
                self._scopes[key] = found
        return found

    def sees(self, namespace: str) -> bool:
        """Whether it may do anything at all there."""
        return any(namespace in grant.namespaces for grant in self.grants)

    def has_anywhere(self, roles: frozenset[Role]) -> bool:
        """Whether it has one of these roles in some namespace."""
        return any(not roles.isdisjoint(grant.roles) for grant in self.grants)
