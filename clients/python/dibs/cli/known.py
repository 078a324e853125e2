"""`dibs known`: the tasks that workers have registered, and how they are delivered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..contract.names import DEFAULT_QUEUE
from ..enqueueing.policy import DEFAULT_ATTEMPTS, DEFAULT_ATTEMPTS_RENEWED
from ..rpc import admin_operations as admin
from ..rpc.times import to_duration
from ..v1.admin_pb2 import TaskDefinition, TaskInfo
from ..v1.types_pb2 import DeliveryPolicy
from . import words
from .arguments import Expires, Lease, TimeLimit, VisTimeout, set_lease, set_times
from .command import group
from .completion import task_names
from .exits import Exit
from .session import Session
from .tables import cell, cut_cell, table
from .values import MAX_INT32, span


def delivery(policy: DeliveryPolicy) -> str:
    """How items are delivered, in few words."""
    lease, limit = words.seconds_of(policy.lease_timeout), words.seconds_of(policy.run_timeout)
    said = "at most once"
    if lease:
        said = f"{policy.attempts or 1} × {'renewed ' if policy.renew else ''}{words.age(lease)}"
    if limit:
        said += f", runs of {words.age(limit)}"
    if expires := words.seconds_of(policy.expire_after):
        said += f", waits {words.age(expires)}"
    return f"{said}, then dead letter" if lease and policy.use_dead_letter else said


def known_table(found: Sequence[TaskInfo], now: datetime) -> Table:
    """The table for people."""
    made = table("task", "queue", "delivery", "result kept#", "workers#", "registered#", "what it does…")
    for one in found:
        definition = one.definition
        kept = words.seconds_of(definition.policy.result_ttl)
        made.add_row(
            cell(definition.name),
            cell(definition.queue),
            delivery(definition.policy),
            words.age(kept) if kept else words.NOTHING,
            Text(str(one.workers), style="" if one.workers else "yellow"),
            words.age(words.since(one.register_time, now)) + " ago",
            cut_cell(words.one_line(definition.description.partition("\n")[0])),
        )
    return made


def list_tasks(
    session: Session,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Names of tasks.", autocompletion=task_names)
    ] = None,
) -> Exit:
    """Registered tasks; all, or those named. Exit code 3 if one of the names is not known."""
    found = session.calls.known_tasks(names or None)
    if session.as_json:
        session.document(tasks=found)
    elif not found:
        session.say(f"no tasks are registered in namespace {session.calls.namespace}")
    else:
        session.show(known_table(found, session.calls.now()))
    return Exit.NOT_FOUND if set(names or ()) - {one.definition.name for one in found} else Exit.OK


def register(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the task.")],
    queue: Annotated[str, typer.Option(help="Queue of its calls.")] = DEFAULT_QUEUE,
    attempts: Annotated[
        int | None, typer.Option(min=1, max=MAX_INT32, help="Deliveries in all. Default: 1, with a lease 3.")
    ] = None,
    lease: Lease = None,
    vis_timeout: VisTimeout = None,
    time_limit: TimeLimit = None,
    expires: Expires = None,
    keep: Annotated[
        float, typer.Option(parser=span, metavar="TIME", show_default="0s", help="How long its result is kept.")
    ] = 0.0,
    dead: Annotated[bool, typer.Option("--dead", help="To a dead-letter queue when attempts are used up.")] = False,
    description: Annotated[str, typer.Option(help="What it does, for people.")] = "",
) -> None:
    """Make a task known by hand, as a worker does at its start for the tasks of its code."""
    policy = DeliveryPolicy(use_dead_letter=dead)
    set_lease(policy, lease, vis_timeout)
    set_times(policy, time_limit, expires)
    policy.attempts = attempts or (DEFAULT_ATTEMPTS_RENEWED if policy.renew else DEFAULT_ATTEMPTS)
    if keep:
        policy.result_ttl.CopyFrom(to_duration(keep))
    definition = TaskDefinition(name=name, queue=queue, policy=policy, description=description)
    session.calls.do(admin.register_tasks(session.calls.namespace, [definition]))
    if session.as_json:
        session.document(task=definition)
    else:
        session.say(f"{words.plain(name)} is known, in queue {words.plain(queue)}")


command = group("Registered tasks. Without a subcommand: list.", list=list_tasks, register=register)
