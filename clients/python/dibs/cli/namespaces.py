"""`dibs namespaces` and `dibs delete-namespace`: which there are, and the end of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ..admin import flows as admin_flows
from ..v1 import admin_pb2 as pb
from . import words
from .command import Yes, single
from .exits import Exit
from .progress import work
from .session import Session
from .tables import cell, table

#: What is told of each namespace, in this order.
_QUOTAS = ("items", "bytes", "queues", "schedules", "locks", "tasks")


def namespaces(
    session: Session,
    quotas: Annotated[bool, typer.Option("--quotas", help="How much there is in each, and may be.")] = False,
) -> None:
    """Namespaces in use, at most 1,000, by name."""
    found = list(session.calls.server_info().namespaces)
    if quotas:
        _show_quotas(session, found)
        return
    if session.as_json:
        session.document(namespaces=found)
    for name in () if session.as_json else found:
        session.say(words.plain(name))


def _show_quotas(session: Session, namespaces: Sequence[str]) -> None:
    found = {name: session.calls.quotas(name) for name in namespaces}
    if session.as_json:
        session.document(
            namespaces=[
                {
                    "namespace": name,
                    "quotas": {
                        one.quota: {"used": one.used if one.HasField("used") else None, "limit": one.limit or None}
                        for one in uses
                    },
                }
                for name, uses in found.items()
            ]
        )
        return
    made = table("namespace", *(f"{quota}#" for quota in _QUOTAS))
    for name, uses in found.items():
        told = {one.quota: _told(one) for one in uses}
        made.add_row(cell(name), *(told.get(quota, "") for quota in _QUOTAS))
    session.show(made)


def _told(use: pb.QuotaUse) -> str:
    """How much there is, and if there is a limit of how much."""
    write = words.size if use.quota == "bytes" else "{:,}".format
    used = write(use.used) if use.HasField("used") else "?" if use.limit else ""
    return f"{used} of {write(use.limit)}" if use.limit else used


def delete_namespace(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The namespace to remove.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also while workers are connected or items are leased.")
    ] = False,
    yes: Yes = False,
) -> Exit:
    """Remove a namespace with everything in it: items, results, schedules, tasks, locks, counts.

    It works in small steps; Ctrl-C stops it after one, and what is removed stays removed. Without --force it refuses
    while somebody works there.
    """
    session.confirm(f"Remove namespace {name} with everything in it, for good?", yes=yes)
    removed, deleted = work(
        session,
        "removing",
        "removed",
        lambda heard: admin_flows.delete_namespace(name, force=force, on_progress=heard),
        deleted=False,
    )
    if session.as_json:
        if deleted:
            session.line(removed=removed, left=0, deleted=True)
    else:
        said = "is gone" if deleted else "is still there: something is put in as fast as it is removed"
        session.say(f"namespace {words.plain(name)} {said}; {removed:,} key(s) removed")
    return Exit.OK if deleted else Exit.NO


namespaces_command = single(namespaces)
delete_namespace_command = single(delete_namespace)
