"""Who made the call that is being handled, for handlers whose answers depend on it."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar

from ..config.principals import EVERYTHING, Names, Principal, Role
from .errors import PermissionDenied


class Caller:
    """Who made a call.

    Attributes:
        principal: who, by the file that is in use.
    """

    __slots__ = ("principal",)

    def __init__(self, principal: Principal) -> None:
        self.principal = principal


#: Set where calls come in (`guard.py`). None: nobody asks who calls, and everything is open.
CALLER: ContextVar[Caller | None] = ContextVar("dibs_caller", default=None)


def name_of_caller() -> str:
    """The caller's name; "": nobody asks for it."""
    caller = CALLER.get()
    return "" if caller is None else caller.principal.name


def scope_of_caller(namespace: str, *roles: Role) -> Names:
    """The queues of a namespace for which the caller has at least one of these roles."""
    caller = CALLER.get()
    return EVERYTHING if caller is None else caller.principal.scope(namespace, frozenset(roles))


def check_caller(namespace: str, queues: Iterable[str], *roles: Role) -> None:
    """The caller must have at least one of these roles for each of these queues, which are not told if not.

    For what a call comes to after its guard has let it through. Raises `PermissionDenied`.
    """
    scope = scope_of_caller(namespace, *roles)
    if not scope.everything:
        for queue in queues:
            if queue not in scope:
                raise PermissionDenied(name_of_caller(), roles, namespace, queue or "?", is_named=False)


def caller_sees(namespace: str) -> bool:
    """Whether the caller may do anything at all in a namespace."""
    caller = CALLER.get()
    return caller is None or caller.principal.sees(namespace)
