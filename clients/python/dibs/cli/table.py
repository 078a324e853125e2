"""Every subcommand of `dibs`: where it is, what it needs, and its line in `dibs --help`.

To add one, write a module with a `typer.Typer` or a command made by one, and a row here. The module is imported when
its subcommand is used, not before, so that `dibs --help` is quick and a missing extra is missed only by those who
need it. Strings, because the client's package does not import the broker and the worker.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One subcommand.

    Attributes:
        target: `module:attribute` of the command.
        help: its line in the list.
        extra: of the distribution, that brings what the command imports.
        panel: heading that it stands under in the list.
    """

    target: str
    help: str
    extra: str = "cli"
    panel: str = "Operate"


_RUN = "Run"
_QUEUES = "Queues"
_ITEMS = "Items"

#: The subcommands by name, in the order of the list.
TABLE: dict[str, Row] = {
    "dev": Row("dibs.cli.dev:command", "Run a broker and a worker together, to develop tasks with.", "all", _RUN),
    "broker": Row("dibs.broker.cli:command", "Run a broker.", "broker", _RUN),
    "worker": Row("dibs.worker.cli:command", "Run the tasks of a module.", "worker", _RUN),
    "token": Row("dibs.cli.tokens:app", "A new token for a principal of a broker's --auth-file.", panel=_RUN),
    "queues": Row("dibs.cli.queues:command", "What is in each queue, and how fast it moves.", panel=_QUEUES),
    "tasks": Row("dibs.cli.items:command", "Items of a queue, without leasing them.", panel=_QUEUES),
    "pause": Row("dibs.cli.control:pause_command", "Stop deliveries from a queue.", panel=_QUEUES),
    "resume": Row("dibs.cli.control:resume_command", "Deliver from a paused queue again.", panel=_QUEUES),
    "priority": Row("dibs.cli.control:priority_command", "Show, set or clear the priority of a queue.", panel=_QUEUES),
    "clear": Row("dibs.cli.control:clear_command", "Remove what waits in a queue, or the queue.", panel=_QUEUES),
    "flush": Row("dibs.cli.flush:command", "Wait until what is queued has started, or is done.", panel=_QUEUES),
    "dead": Row("dibs.cli.dead:command", "Dead letters: list, show, redrive, purge, take.", panel=_QUEUES),
    "redrive": Row("dibs.cli.aside:command", "Send items that were set aside back to their queue.", panel=_QUEUES),
    "enqueue": Row("dibs.cli.enqueue:command", "Enqueue a task or a data item by hand.", panel=_ITEMS),
    "show": Row("dibs.cli.show:command", "State, content, result and error of items.", panel=_ITEMS),
    "cancel": Row("dibs.cli.cancel:cancel_command", "Cancel items, running ones too.", panel=_ITEMS),
    "delete": Row("dibs.cli.cancel:delete_command", "Delete items wherever they are.", panel=_ITEMS),
    "top": Row("dibs.cli.top:command", "Live view of the queues and the broker."),
    "doctor": Row("dibs.cli.doctor:command", "Check everything, and say what to change."),
    "health": Row("dibs.cli.health:command", "Ask whether the broker serves; for scripts and containers."),
    "workers": Row("dibs.cli.workers:command", "Workers that are connected, and what they run."),
    "worker-stop": Row("dibs.cli.workers:stop_command", "Have a worker stop, wherever it runs."),
    "worker-resize": Row("dibs.cli.workers:resize_command", "Have a worker run so many task processes."),
    "known": Row("dibs.cli.known:command", "Tasks that workers have registered."),
    "schedules": Row("dibs.cli.schedules:command", "What runs by itself, and when next."),
    "namespaces": Row("dibs.cli.namespaces:namespaces_command", "Namespaces in use."),
    "delete-namespace": Row(
        "dibs.cli.namespaces:delete_namespace_command", "Remove a namespace with everything in it."
    ),
    "locks": Row("dibs.cli.locks:command", "Locks: who holds what."),
}
