"""Says of a worker at its start that it serves none of the queues that its tasks are put into."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from .logs import Said

_log = logging.getLogger("dibs.worker")

#: Queues that the line names.
_LISTED = 10


def tell_unserved(served: Sequence[str], of_tasks: Iterable[str]) -> None:
    """Say it, if it is so.

    Args:
        served: the queues that the worker serves; empty: all.
        of_tasks: queues that calls of its tasks go to, unless a call names another one.
    """
    wanted = sorted(set(of_tasks))
    if served and wanted and not set(wanted).intersection(served):
        _log.warning(
            Said(
                "none of the queues served is one that the tasks here are put into: only calls that name such a queue "
                "will run; serve queues of the tasks with --queues",
                served=",".join(served[:_LISTED]),
                queues_of_tasks=",".join(wanted[:_LISTED]),
            )
        )
