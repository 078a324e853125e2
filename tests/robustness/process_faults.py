"""Processes that are killed, freeze, are restarted, or kill themselves."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from . import kinds
from .cluster import Broker, Cluster
from .expectation import Expectation
from .faults import Fault
from .pacing import rounds
from .processes import Process, RedisProcess, send

#: Longer than every lease and every timeout of a run.
_FROZEN_S = 5.0
#: What a worker may hold besides what runs: a twentieth of a second's work, in two processes.
_HELD = 40
#: A function that was being called when its process died may not have come to write that it began.
_JUST_BEGUN = 1
#: Why a data item may be dead unseen.
_LEASE_ENDED = "a Lease that its client has given up may have ended well for its broker"


def nothing(cluster: Cluster, seconds: float) -> None:
    """Nothing happens: what costs something here costs it without any fault."""
    time.sleep(seconds)


def kill_worker(cluster: Cluster, seconds: float) -> None:
    """Workers are killed with all their processes, and started again."""
    for _ in rounds(seconds, 3.0):
        _killed(cluster, cluster.chance.choice(cluster.workers))


def kill_task_process(cluster: Cluster, seconds: float) -> None:
    """A process that runs tasks is killed; its worker lives."""
    for _ in rounds(seconds, 1.5):
        cluster.kill_task_process()


def kill_broker(cluster: Cluster, seconds: float) -> None:
    """Brokers are killed in turn, and started again."""
    for turn in rounds(seconds, 3.0):
        _killed(cluster, cluster.brokers[turn % len(cluster.brokers)])


def kill_redis(cluster: Cluster, seconds: float) -> None:
    """Redis is killed, and started again a second later."""
    for _ in rounds(seconds, 3.0):
        _killed(cluster, cluster.redis)


def stop_worker(cluster: Cluster, seconds: float) -> None:
    """A worker is frozen for longer than its leases."""
    _frozen(cluster.chance.choice(cluster.workers), seconds)


def stop_task_process(cluster: Cluster, seconds: float) -> None:
    """A process that runs tasks is frozen for longer than its leases; its worker lives."""
    pids = cluster.task_processes(cluster.chance.choice(cluster.workers))
    victim = [cluster.chance.choice(pids)]
    send(signal.SIGSTOP, victim)
    time.sleep(max(seconds, _FROZEN_S))
    send(signal.SIGCONT, victim)


def stop_broker(cluster: Cluster, seconds: float) -> None:
    """A broker is frozen for longer than leases and timeouts."""
    _frozen(cluster.chance.choice(cluster.brokers), seconds)


def stop_redis(cluster: Cluster, seconds: float) -> None:
    """Redis is frozen for longer than leases and timeouts."""
    _frozen(cluster.redis, seconds)


def silent_broker(cluster: Cluster, seconds: float) -> Callable[[], None]:
    """A broker freezes and stays frozen while everybody has to get on with the other one."""
    victim = cluster.chance.choice(cluster.brokers)
    victim.freeze()
    time.sleep(seconds)
    return victim.thaw


def rolling(cluster: Cluster, seconds: float) -> None:
    """Redis, brokers and workers are restarted one after the other, as for an upgrade."""
    for process in (cluster.redis, *cluster.brokers, *cluster.workers):
        process.stop()
        _start(process)
        time.sleep(seconds / 10)


def poison(cluster: Cluster, seconds: float) -> None:
    """Tasks that kill their process each time, among others that must not suffer from it."""
    cluster.put(kinds.POISON, 2)
    time.sleep(seconds)


def _killed(cluster: Cluster, process: Process) -> None:
    cluster.kill(process)
    time.sleep(1.0)
    _start(process)


def _start(process: Process) -> None:
    process.start()
    if isinstance(process, Broker | RedisProcess):
        process.wait()


def _frozen(process: Process, seconds: float) -> None:
    process.freeze()
    time.sleep(max(seconds, _FROZEN_S))
    process.thaw()


PROCESS_FAULTS = (
    Fault("nothing", nothing),
    Fault("kill-worker", kill_worker, Expectation(lost_once=2 * _HELD, uncounted=2, unseen_tasks=2)),
    Fault("kill-task-process", kill_task_process, Expectation(lost_once=_JUST_BEGUN, just_begun=_JUST_BEGUN)),
    Fault("kill-broker", kill_broker, Expectation(lost_once=2 * _HELD, uncounted=2)),
    Fault("kill-redis", kill_redis, Expectation(uncounted=2)),
    Fault("stop-worker", stop_worker, Expectation(uncounted=2, unseen_tasks=2)),
    Fault("stop-task-process", stop_task_process, Expectation(uncounted=2, unseen_tasks=2)),
    Fault("stop-broker", stop_broker, Expectation(lost_once=_HELD, uncounted=2, unseen_data=1, because=_LEASE_ENDED)),
    Fault("stop-redis", stop_redis, Expectation(uncounted=2)),
    Fault(
        "silent-broker",
        silent_broker,
        Expectation(
            recovery_s=20.0,
            lost_once=_HELD,
            uncounted=2,
            unseen_data=1,
            because="streams notice that nothing is heard after 15 s; " + _LEASE_ENDED,
        ),
        seconds=1.0,
    ),
    Fault("rolling", rolling, Expectation(uncounted=2)),
    Fault("poison", poison, Expectation(lost_once=_JUST_BEGUN, just_begun=_JUST_BEGUN)),
)
