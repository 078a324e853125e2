"""One Redis, two brokers, two workers of two processes, producers, consumers, and proxies on every way between them."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..support.ports import free_port
from ..support.processes import environment
from . import history
from .calls import Brokers
from .disk import disk
from .history import Event, Flags, Writer
from .kinds import Kind
from .processes import Process, RedisProcess, send
from .proxies import Proxies, Proxy
from .putting import put
from .roles import CLIENTS

#: A Redis call that has not been answered by then has failed: the broker's default.
REDIS_TIMEOUT_S = 2.0
BROKERS = WORKERS = 2
_START_S = 60.0


class Broker(Process):
    """A broker, the proxies through which it is reached, and the one through which it reaches Redis.

    Attributes:
        address: where it listens itself.
        for_clients: proxy before it for producers and consumers.
        for_workers: proxy before it for workers.
        to_redis: proxy between it and Redis.
    """

    def __init__(self, name: str, redis_port: int, proxies: Proxies, folder: Path, env: Mapping[str, str]) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._ready = folder / f"{name}.ready"
        self.for_clients, self.for_workers = proxies.before(port), proxies.before(port)
        self.to_redis = proxies.before(redis_port)
        command = [sys.executable, "-m", "dibs", "broker", "--listen", self.address, "--ready-file", str(self._ready)]
        command += ["--redis", f"redis://{self.to_redis.address}/0"]
        super().__init__(name, command, folder, env)

    def start(self) -> None:
        """Start it; `wait` for it afterwards."""
        self._ready.unlink(missing_ok=True)
        super().start()

    def wait(self) -> None:
        """Return when it listens."""
        until(lambda: self._ready.exists() or not self.alive(), f"{self.name} listens")
        assert self.alive(), self.said()


class Cluster:
    """A run's processes, all started. Close it at the end.

    Args:
        folder: of logs, data and history.
        seed: of everything that is left to chance.
        replica: there is a second Redis, which follows the first.
        data: folder of what Redis stores.

    Attributes:
        chance: what faults take their random numbers from.
        flags: tells producers and consumers when to stop.
        note: writes to the history what the harness does.
        direct: the brokers without a proxy, for the harness.
        roles: whoever must be seen to work: threads of producers and consumers, and workers.
    """

    def __init__(self, folder: Path, seed: int, *, replica: bool, data: Path) -> None:
        self.folder, self.seed = folder, seed
        self.events = folder / "history"
        self.events.mkdir(parents=True)
        self.chance = random.Random(seed)
        self.flags = Flags(self.events)
        self.note = Writer(self.events, "harness")
        self.proxies = Proxies()
        env = environment({history.FOLDER: str(self.events), "NO_COLOR": "1"})
        self.redis = RedisProcess("redis", free_port(), folder, data / "redis", env)
        self.replica = RedisProcess("replica", free_port(), folder, data / "replica", env) if replica else None
        self.brokers = [
            Broker(f"broker{number}", self.redis.port, self.proxies, folder, env) for number in range(BROKERS)
        ]
        self.workers = [self._worker(number, env) for number in range(WORKERS)]
        self.clients = [self._client(name, env) for name in ("producers", "consumers")]
        self.extra: list[Process] = []
        self.direct = Brokers([broker.address for broker in self.brokers])
        self._env = env

    def _worker(self, number: int, env: Mapping[str, str]) -> Process:
        ways = [broker.for_workers for broker in self.brokers]
        own = {history.ROLE: f"worker{number}", "DIBS_TARGET": target(ways[number:] + ways[:number])}
        words = ["worker", "tests.robustness.jobs", "--processes", "2", "--threads", "2", "--wait", "5"]
        return Process(f"worker{number}", [sys.executable, "-m", "dibs", *words], self.folder, {**env, **own})

    def _client(self, name: str, env: Mapping[str, str]) -> Process:
        own = {history.ROLE: name, "DIBS_TARGET": target([broker.for_clients for broker in self.brokers])}
        addresses = [broker.for_clients.address for broker in self.brokers]
        command = [sys.executable, "-m", f"tests.robustness.{name}", str(self.seed), *addresses]
        return Process(name, command, self.folder, {**env, **own})

    @property
    def roles(self) -> list[str]:
        """Whoever must be seen to work before a fault and after it."""
        return [*CLIENTS, *(worker.name for worker in self.workers)]

    @property
    def processes(self) -> list[Process]:
        """All of them, servers first."""
        servers = [self.redis, *([self.replica] if self.replica else []), *self.brokers]
        return [*servers, *self.workers, *self.clients, *self.extra]

    def start(self) -> None:
        """Start Redis, brokers and workers; return when the workers are ready."""
        self.redis.start_and_wait()
        if self.replica is not None:
            self.replica.start_and_wait()
            with self.replica.client() as client:
                client.replicaof("127.0.0.1", str(self.redis.port))
        for broker in self.brokers:
            broker.start()
        for broker in self.brokers:
            broker.wait()
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            _await_tasks(worker)

    def start_clients(self) -> None:
        """Start producers and consumers."""
        for client in self.clients:
            client.start()

    def put(self, kind: Kind, count: int, prefix: str = "") -> None:
        """Put in items of a kind that producers do not choose by themselves; `prefix` keeps their names apart."""
        for start in range(0, count, 100):
            names = [(f"{kind.name}-{prefix}{number}", kind) for number in range(start, min(start + 100, count))]
            assert put(self.direct, self.note, names, _START_S), f"{kind.name} cannot be put in"

    def extra_process(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Process:
        """A process that only this fault needs; start it. It is ended with the others."""
        process = Process(name, command, self.folder, {**self._env, **env})
        self.extra.append(process)
        return process

    def kill(self, process: Process) -> None:
        """End a process and its children without warning, and note which."""
        self.note_killed(process.kill())

    def note_killed(self, pids: Sequence[int]) -> None:
        """Note processes whose work cannot have ended in order."""
        for pid in pids:
            self.note(Event(what="killed", text=str(pid)))

    def task_processes(self, worker: Process) -> list[int]:
        """Processes of a worker that run its tasks, in no order."""
        return sorted(history.processes_of(self.events, worker.name) & set(worker.family()))

    def kill_task_process(self) -> None:
        """End one process that runs tasks, without warning; its worker lives."""
        pids = self.task_processes(self.chance.choice(self.workers))
        if pids:
            victim = self.chance.choice(pids)
            self.note_killed([victim])
            send(signal.SIGKILL, [victim])

    def close(self) -> None:
        """End everything that is left."""
        for process in reversed(self.processes):
            process.kill()
        self.direct.close()
        self.proxies.close()


def _await_tasks(worker: Process) -> None:
    """Return when a worker has loaded its tasks."""
    until(lambda: "tasks=" in worker.said() or not worker.alive(), f"{worker.name} is ready")
    assert worker.alive(), worker.said()


def target(ways: Sequence[Proxy]) -> str:
    """The brokers behind proxies, for a client."""
    return "ipv4:" + ",".join(way.address for way in ways)


def until(condition: Callable[[], object], what: str, patience_s: float = _START_S) -> None:
    """Return when a condition holds that nobody announces."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"not in {patience_s:g} s: {what}"
        time.sleep(0.05)


@contextmanager
def running(folder: Path, seed: int, *, replica: bool = False, small_disk: bool = False) -> Iterator[Cluster]:
    """A cluster in an empty folder, ended with the with.

    Raises:
        NoSmallDisk: `small_disk`, and this machine does not allow one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with disk(small=small_disk) as data:
        cluster = Cluster(folder, seed, replica=replica, data=data)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()
