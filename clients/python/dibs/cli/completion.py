"""Shell completion of names that the broker knows. Silent when it is away."""

from __future__ import annotations

from typing import Any

from ..errors import DibsError
from ..rpc.connection import Connection
from .calls import Calls

#: A shell that waits for a completion is frozen: better none than a late one.
TIMEOUT_SECONDS = 0.5


def queue_names(ctx: Any, incomplete: str) -> list[str]:
    """Names of queues that begin with what is typed."""
    return _ask(ctx, incomplete, lambda calls: [queue.name for queue in calls.queues()])


def task_names(ctx: Any, incomplete: str) -> list[str]:
    """Names of registered tasks that begin with what is typed."""
    return _ask(ctx, incomplete, lambda calls: [task.definition.name for task in calls.known_tasks()])


def schedule_names(ctx: Any, incomplete: str) -> list[str]:
    """Names of schedules that begin with what is typed."""
    return _ask(ctx, incomplete, lambda calls: [one.schedule.name for one in calls.schedules()])


def dead_queue_names(ctx: Any, incomplete: str) -> list[str]:
    """Names of dead-letter queues that begin with what is typed."""
    return _ask(ctx, incomplete, lambda calls: [one.name for one in calls.dead_queues()])


def _ask(ctx: Any, incomplete: str, names: Any) -> list[str]:
    given = ctx.params
    try:
        connection = Connection.build(
            given.get("target"),
            given.get("namespace"),
            timeout=TIMEOUT_SECONDS,
            token=given.get("token"),
            tls=given.get("tls"),
            ca=given.get("ca_file"),
            cert=given.get("client_cert_file"),
            key=given.get("client_key_file"),
        )
        calls = Calls(connection)
        try:
            found: list[str] = names(calls)
        finally:
            calls.close()
    except (DibsError, ValueError, OSError):
        # Without a broker there is nothing to offer, and a shell's prompt is no place to say why.
        return []
    return sorted({name for name in found if name.startswith(incomplete)})
