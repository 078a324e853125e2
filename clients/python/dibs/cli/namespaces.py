"""`dibs namespaces` and `dibs delete-namespace`: which there are, and the end of one."""

from __future__ import annotations

from typing import Annotated

import typer

from ..v1.admin_pb2 import DeleteNamespaceResponse
from . import words
from .command import Yes, single
from .exits import Exit
from .progress import follow
from .session import Session


def namespaces(session: Session) -> None:
    """Namespaces in use, at most 1,000, by name."""
    found = list(session.calls.server_info().namespaces)
    if session.as_json:
        session.document(namespaces=found)
    for name in () if session.as_json else found:
        session.say(words.plain(name))


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
    reports = session.calls.delete_namespace(name, force=force)
    last = follow(session, reports, "removing", lambda report: (report.removed, 0)) or DeleteNamespaceResponse()
    if not session.as_json:
        said = "is gone" if last.deleted else "is still there: something is put in as fast as it is removed"
        session.say(f"namespace {words.plain(name)} {said}; {last.removed:,} key(s) removed")
    return Exit.OK if last.deleted else Exit.NO


namespaces_command = single(namespaces)
delete_namespace_command = single(delete_namespace)
