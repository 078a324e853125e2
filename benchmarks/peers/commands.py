"""How to run the peers."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..stack import FOLDER, ROOT

_PEERS = FOLDER / "peers"
_RPQUEUE = str(ROOT / ".cache/peers/rpqueue/bin/python")
_TASKIQ = str(ROOT / ".cache/peers/taskiq/bin/python")


@dataclass(frozen=True)
class PeerWorker:
    """One peer with one sort of task.

    Attributes:
        name: for the table.
        producer: command that enqueues; the number of tasks and the task are added.
        task: its name.
        work: command of one worker process.
        env: what both have in their environment.
    """

    name: str
    producer: tuple[str, ...]
    task: str
    work: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)

    def enqueue(self, count: int) -> list[str]:
        """The command that enqueues that many tasks and prints how many seconds it took."""
        return [*self.producer, "enqueue", str(count), self.task]


_RPQUEUE_TASKS = (_RPQUEUE, str(_PEERS / "rpqueue_tasks.py"))
_TASKIQ_TASKS = (_TASKIQ, str(_PEERS / "taskiq_tasks.py"))
_TASKIQ_OPTIONS = ("--workers", "1", "--max-async-tasks", "100", "--log-level", "WARNING")
_TASKIQ_WORKER = (_TASKIQ, "-m", "taskiq", "worker", *_TASKIQ_OPTIONS, "taskiq_tasks:broker")

WORKERS = (
    PeerWorker("rpqueue at most once", _RPQUEUE_TASKS, "once", _RPQUEUE_TASKS),
    PeerWorker("rpqueue at least once", _RPQUEUE_TASKS, "again", _RPQUEUE_TASKS),
    PeerWorker("taskiq on lists", _TASKIQ_TASKS, "once", _TASKIQ_WORKER),
    PeerWorker("taskiq on streams", _TASKIQ_TASKS, "once", _TASKIQ_WORKER, {"DIBS_BENCH_TASKIQ": "stream"}),
)


def rpqueue_data(items: int) -> list[str]:
    """Put, get and finish that many data items, 100 at a time, and print the seconds."""
    return [*_RPQUEUE_TASKS, "data", str(items)]


def rpqueue_put(first: int, count: int) -> list[str]:
    """Put data items, 100 at a time, numbered from `first` on; begin when a line comes on its standard input."""
    return [*_RPQUEUE_TASKS, "put", str(first), str(count)]


def rpqueue_take() -> list[str]:
    """Get and finish data items, 100 at a time, and tell when the last one was done; begin as `rpqueue_put`."""
    return [*_RPQUEUE_TASKS, "take"]
