"""`dibs schedules`: what runs by itself, and when next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..admin import flows as admin_flows
from ..rpc.codec import encode_call
from ..tasks.schedules import Cron, Every
from ..v1 import admin_pb2 as admin
from . import words
from .command import Yes, group
from .completion import schedule_names, task_names
from .exits import Exit
from .session import Session, usage
from .tables import cell, table
from .values import json_list, json_object, span

#: Group of the schedules that are put by hand.
BY_HAND = "dibs-command"

_STATES = {
    admin.SCHEDULE_STATE_PLANNED: Text("planned"),
    admin.SCHEDULE_STATE_PENDING: Text("pending", style="blue"),
    admin.SCHEDULE_STATE_NO_WORKER: Text("no worker", style="yellow"),
    admin.SCHEDULE_STATE_UNREADABLE: Text("unreadable", style="red"),
}


def timing(schedule: admin.Schedule) -> str:
    """When it runs, in few words."""
    if schedule.WhichOneof("timing") == "interval":
        return f"every {words.age(words.seconds_of(schedule.interval))}"
    zone = schedule.time_zone
    return f"{schedule.cron} {zone}" if zone else schedule.cron


def schedules_table(found: Sequence[admin.ScheduleInfo], now: datetime) -> Table:
    """The table for people."""
    made = table("schedule", "runs", "queue", "state", "due in#", "last start#", "count#", "group")
    for one in found:
        due = -words.since(one.due_time, now) if one.HasField("due_time") else None
        last = words.since(one.last_start_time, now) if one.HasField("last_start_time") else None
        made.add_row(
            cell(one.schedule.name),
            cell(timing(one.schedule)),
            cell(one.schedule.queue),
            _STATES.get(one.state, Text(words.NOTHING)),
            words.NOTHING if due is None else words.age(due) if due > 0 else "now",
            words.NOTHING if last is None else words.age(last) + " ago",
            words.count(one.runs),
            cell(one.group),
        )
    return made


def list_schedules(session: Session) -> None:
    """Schedules and how they stand."""
    found = session.calls.schedules()
    if session.as_json:
        session.document(schedules=found)
    elif not found:
        session.say(f"no schedules in namespace {session.calls.namespace}")
    else:
        session.show(schedules_table(found, session.calls.now()))


def put(
    session: Session,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Task to run.", autocompletion=task_names)],
    every: Annotated[
        float | None, typer.Option(parser=span, metavar="TIME", help="Again and again after this time.")
    ] = None,
    cron: Annotated[
        str | None, typer.Option(metavar="EXPRESSION", help="By the clock: five fields, or six with seconds first.")
    ] = None,
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Of --cron, such as Europe/Vienna.")] = "UTC",
    name: Annotated[str | None, typer.Option(help="Of the schedule. Default: the task's.")] = None,
    args: Annotated[str | None, typer.Option(metavar="JSON", help="Positional arguments, a JSON list.")] = None,
    kwargs: Annotated[str | None, typer.Option(metavar="JSON", help="Keyword arguments, a JSON object.")] = None,
    queue: Annotated[str | None, typer.Option(help="Default: the task's, if it is registered.")] = None,
    never_skip: Annotated[bool, typer.Option("--never-skip", help="Run missed times too, one after another.")] = False,
) -> None:
    """Make or change a schedule by hand; what a worker's code says, the worker puts at its start."""
    if (every is None) == (cron is None):
        raise usage("say one of --every and --cron", "--every")
    payload = encode_call(json_list(args, "--args"), json_object(kwargs, "--kwargs"))
    when = Cron(cron, time_zone, never_skip) if cron is not None else Every(timedelta(seconds=every or 0.0), never_skip)
    schedule = session.calls.run(
        admin_flows.put_schedule(session.calls.namespace, BY_HAND, name or task, task, when, payload, queue=queue)
    )
    if session.as_json:
        session.document(schedule=schedule)
    else:
        session.say(f"{words.plain(schedule.name)} runs {timing(schedule)}")


def delete(
    session: Session,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Names of schedules.", autocompletion=schedule_names)
    ],
    yes: Yes = False,
) -> Exit:
    """Remove schedules and their runs that have not started. Exit code 3 if one of them is not known.

    A worker whose code has one puts it again at its next start.
    """
    session.confirm(f"Remove {len(names)} schedule(s)?", yes=yes)
    deleted = set(session.calls.run(admin_flows.delete_schedules(session.calls.namespace, names)))
    missing = [name for name in names if name not in deleted]
    if session.as_json:
        session.document(deleted_names=[name for name in names if name in deleted], unknown_names=missing)
    else:
        for name in names:
            session.say(f"{words.plain(name)}: {'deleted' if name in deleted else 'not known'}")
    return Exit.NOT_FOUND if missing else Exit.OK


command = group("Schedules. Without a subcommand: list.", list=list_schedules, put=put, delete=delete)
