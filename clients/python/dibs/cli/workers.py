"""`dibs workers`: who is connected, to which broker, and how much it has done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from ..v1.admin_pb2 import WorkerInfo
from . import words, worker_conditions
from .command import single
from .session import Session
from .tables import cell, table


def workers_table(found: Sequence[WorkerInfo], now: datetime) -> Table:
    """The table for people."""
    columns = ("worker!", "kind", "queues", "tasks#", "credit#", "delivered#", "acked#", "nacked#")
    made = table(*columns, "connected#", "seen#", "broker")
    for worker in found:
        made.add_row(
            cell(worker.worker_id),
            words.kind_word(worker.kind),
            cell(", ".join(worker.queues)) if worker.queues else "all",
            str(len(worker.task_names)) if worker.task_names else "any",
            words.count(worker.credit),
            words.count(worker.delivered),
            words.count(worker.acked),
            words.count(worker.nacked),
            words.age(words.since(worker.connect_time, now)),
            words.age(words.since(worker.seen_time, now)) + " ago",
            cell(worker.broker_id),
        )
    return made


def workers(session: Session) -> None:
    """Workers that are connected to any broker.

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


command = single(workers)
