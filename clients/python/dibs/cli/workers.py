"""`dibs workers`: who is connected, to which broker, and how much it has done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from ..rpc import admin_operations as admin
from ..v1.admin_pb2 import WorkerInfo
from ..v1.types_pb2 import WorkerCommand
from . import words, worker_conditions
from .command import single
from .session import Session
from .tables import cell, table

#: Items that a line names.
_NAMED = 2

Worker = Annotated[
    str, typer.Argument(help="Name of the worker, as --worker-id says it, without the number of a process.")
]


def workers_table(found: Sequence[WorkerInfo], now: datetime) -> Table:
    """The table for people."""
    columns = ("worker!", "kind", "queues", "tasks#", "runs", "credit#", "delivered#", "acked#", "nacked#")
    made = table(*columns, "connected#", "seen#", "broker")
    for worker in found:
        made.add_row(
            cell(worker.worker_id),
            words.kind_word(worker.kind),
            cell(", ".join(worker.queues)) if worker.queues else "all",
            str(len(worker.task_names)) if worker.task_names else "any",
            cell(runs(worker)),
            words.count(worker.credit),
            words.count(worker.delivered),
            words.count(worker.acked),
            words.count(worker.nacked),
            words.age(words.since(worker.connect_time, now)),
            words.age(words.since(worker.seen_time, now)) + " ago",
            cell(worker.broker_id),
        )
    return made


def runs(worker: WorkerInfo) -> str:
    """What a stream has run longest, and since when, and how much there is besides."""
    named = worker.state.running[:_NAMED]
    shown = [f"{item.task_name} {words.age(words.seconds_of(item.running))}" for item in named]
    if worker.state.running_count > len(named):
        shown.append(f"{worker.state.running_count - len(named):,} more")
    return ", ".join(shown)


def workers(session: Session) -> None:
    """Workers that are connected to any broker.

    runs: what it has run longest, and for how long, of what has run for a second or so; --json has ids, and up to 20.
    credit: items that it asked for and has not got; delivered, acked, nacked: on its present connection. Below the
    table stands what is amiss: processes that give no sign of life, and what runs although its lease is over.
    """
    found = session.calls.workers()
    if session.as_json:
        session.document(workers=found)
    elif not found:
        session.say(f"no workers in namespace {session.calls.namespace}")
    else:
        session.show(workers_table(found, session.calls.now()))
        for sentence in (*worker_conditions.silent(found), *worker_conditions.overdue(found)):
            session.say(sentence)


def stop(session: Session, worker: Worker) -> None:
    """Have a worker stop in an orderly way, as after SIGTERM, wherever it runs: what runs gets its --wait."""
    session.calls.do(admin.command_worker(session.calls.namespace, worker, WorkerCommand(stop=True)))
    if not session.as_json:
        session.say(f"{words.plain(worker)} has been told to stop")


def resize(
    session: Session,
    worker: Worker,
    processes: Annotated[int, typer.Argument(help="How many task processes it shall have, 1-1,000.")],
) -> None:
    """Have a worker run so many task processes, until it is told otherwise or started anew; none is cut off."""
    session.calls.do(admin.command_worker(session.calls.namespace, worker, WorkerCommand(processes=processes)))
    if not session.as_json:
        session.say(f"{words.plain(worker)} has been told to run {processes:,} process(es)")


command = single(workers)
stop_command = single(stop)
resize_command = single(resize)
