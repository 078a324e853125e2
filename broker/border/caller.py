"""Who made the call that is being handled, for handlers whose answers depend on it."""

from __future__ import annotations

from contextvars import ContextVar

from ..config.principals import EVERYTHING, Names, Principal, Role


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


def caller_sees(namespace: str) -> bool:
    """Whether the caller may do anything at all in a namespace."""
    caller = CALLER.get()
    return caller is None or caller.principal.sees(namespace)
