"""`dibs locks`: who holds what, and until when."""

from __future__ import annotations

import os
import socket
from typing import Annotated, TypeAlias

import typer

from ..admin import flows as admin_flows
from ..rpc import lock_operations as locking
from ..rpc.pages import whole
from . import words
from .command import group
from .exits import Exit
from .session import Session
from .tables import cell, table
from .values import span

Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="Name of the lock.")]
Owner: TypeAlias = Annotated[str, typer.Option("--owner", help="Who holds it.")]


def list_locks(session: Session) -> None:
    """Locks that are held."""
    found = session.calls.run(whole(admin_flows.locks(session.calls.namespace)))
    if session.as_json:
        session.document(locks=found)
    elif not found:
        session.say("no locks are held")
    else:
        now = session.calls.now()
        made = table("lock", "owner", "ends in#")
        for held in found:
            made.add_row(cell(held.name), cell(held.owner), words.age(-words.since(held.expire_time, now)))
        session.show(made)


def acquire(
    session: Session,
    name: Name,
    owner: Annotated[str | None, typer.Option("--owner", help="Who takes it. Default: host:pid of this shell.")] = None,
    duration: Annotated[
        float, typer.Option("--for", parser=span, metavar="TIME", show_default="1m", help="How long it is held.")
    ] = 60.0,
) -> None:
    """Take a lock and print its owner, or fail at once with exit code 1."""
    # Known before the call, so that another attempt after a lost reply is the same owner's.
    owner = owner or f"{socket.gethostname()}:{os.getppid()}"
    taken = session.calls.do(locking.acquire(session.calls.namespace, name, owner, duration))
    if session.as_json:
        session.document(lock=taken)
    else:
        session.say(words.plain(taken.owner))


def refresh(
    session: Session,
    name: Name,
    owner: Owner,
    duration: Annotated[
        float | None,
        typer.Option("--for", parser=span, metavar="TIME", help="How long from now. Default: as it was taken for."),
    ] = None,
) -> None:
    """Start the time of a held lock anew; exit code 1 if it is lost."""
    kept = session.calls.do(locking.refresh(session.calls.namespace, name, owner, duration))
    if session.as_json:
        session.document(lock=kept)
    else:
        session.say(f"{words.plain(name)} is held until {words.moment(kept.expire_time)}")


def release(session: Session, name: Name, owner: Owner) -> Exit:
    """Free a lock; exit code 1 if the owner does not hold it."""
    released = session.calls.do(locking.release(session.calls.namespace, name, owner))
    if session.as_json:
        session.document(released=released)
    else:
        session.say(f"{words.plain(name)} {'is free' if released else f'is not held by {words.plain(owner)}'}")
    return Exit.OK if released else Exit.NO


command = group(
    "Locks. Without a subcommand: list.", list=list_locks, acquire=acquire, refresh=refresh, release=release
)
