"""How much namespaces may hold, by the settings and by the file of `--auth-file`."""

from __future__ import annotations

from pydantic import BaseModel, Field

from ..engine.quotas import Quotas, QuotaTable
from .auth_file import AuthFile
from .principals import NamespaceLimits
from .units import Size

_MOST = 2**53


class NamespaceQuotas(BaseModel):
    """What each namespace may hold; part of a broker's settings. 0: as much as there is room for.

    What would be more is refused with RESOURCE_EXHAUSTED and the reason QUOTA. Counted in Redis, over all brokers.
    """

    max_namespace_items: int = Field(
        default=0,
        ge=0,
        le=_MOST,
        description="Most items of one namespace, in whatever state, dead letters as well; 0: any number.",
    )
    max_namespace_bytes: Size = Field(
        default=0,
        ge=0,
        le=_MOST,
        description="Most bytes of the items of one namespace: payloads, headers, names and some 60 bytes each; 0: any "
        "number.",
    )
    max_namespace_queues: int = Field(
        default=0,
        ge=0,
        le=_MOST,
        description="Most queues of one namespace that something was put into, of both kinds, until they are deleted; "
        "0: any number.",
    )
    max_namespace_schedules: int = Field(
        default=0, ge=0, le=_MOST, description="Most schedules of one namespace; 0: any number."
    )
    max_namespace_locks: int = Field(
        default=0, ge=0, le=_MOST, description="Most locks that are held in one namespace at a time; 0: any number."
    )
    max_namespace_tasks: int = Field(
        default=0, ge=0, le=_MOST, description="Most tasks that are registered in one namespace; 0: any number."
    )


def fill(table: QuotaTable, settings: NamespaceQuotas, file: AuthFile | None) -> None:
    """Put into a table what settings and file say; what the file leaves out of a namespace is as in the settings."""
    if file is None:
        table.every = _quotas(settings, NamespaceLimits())
        return
    table.every = _quotas(settings, file.every_namespace)
    table.own = {name: _quotas(settings, limits) for name, limits in file.namespaces.items()}


def _quotas(settings: NamespaceQuotas, limits: NamespaceLimits) -> Quotas:
    return Quotas(
        *(
            getattr(settings, f"max_namespace_{name}") if own is None else own
            for name in Quotas._fields
            for own in (getattr(limits, f"max_{name}"),)
        )
    )
