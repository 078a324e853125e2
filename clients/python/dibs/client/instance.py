"""The default instance, whose methods the names of the package are."""

from __future__ import annotations

from ..admin.admin import Admin
from ..data.data import Data
from ..rpc.default import fill
from .dibs import Dibs
from .locks import SimpleLock

_instance = Dibs()
fill(_instance)

__all__ = ["Admin", "Data", "SimpleLock"]


def default() -> Dibs:
    """The instance that the names of the package belong to: ``dibs.task`` is ``dibs.default().task``.

    It is told where the broker is by `dibs.connect`, or by the environment; see `Dibs`.
    """
    return _instance


batch = _instance.batch
call_task = _instance.call_task
clear_queue = _instance.clear_queue
close = _instance.close
connect = _instance.connect
cron_task = _instance.cron_task
execute_tasks = _instance.execute_tasks
flush_tasks = _instance.flush_tasks
get_task = _instance.get_task
handle = _instance.handle
known_queues = _instance.known_queues
known_tasks = _instance.known_tasks
lock = _instance.lock
periodic_task = _instance.periodic_task
queue_sizes = _instance.queue_sizes
result = _instance.result
results = _instance.results
set_priority = _instance.set_priority
task = _instance.task
use = _instance.use
