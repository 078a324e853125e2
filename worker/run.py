"""Runs a worker until a signal ends it: in this process, or as a connector with task processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dibs
from dibs.rpc.beside import beside
from dibs.rpc.times import Seconds, to_seconds
from dibs.tasks.context import AFTER_FORK
from dibs.tasks.registry import main_module

from .connector.connector import Connector
from .connector.emptying import until_empty
from .connector.events import Observer
from .connector.registering import Registering
from .connector.reloading import Changes
from .connector.scaling import Scale
from .connector.task_process import Program
from .process.load import Instance, hello_of, import_module, module_name
from .runtime import Worker
from .shared.hello import Hello
from .shared.logs import Said
from .shared.settings import WorkerSettings, queue_names
from .shared.stacks import printed_on_signal
from .shared.unserved import tell_unserved

_log = logging.getLogger("dibs.worker")

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(
    instance: Instance,
    settings: WorkerSettings | None = None,
    *,
    observer: Observer | None = None,
    group: str | None = None,
    burst: bool = False,
) -> int:
    """Run the tasks of an instance in this process, until SIGTERM or SIGINT.

    The first signal stops it as `Worker.stop` says; a second one ends the process at once, with 128 plus the number
    of the signal. SIGUSR1 stops it, too, however often it comes. SIGUSR2 prints stacks.

    Args:
        instance: whose tasks, and where the broker is.
        settings: see there.
        observer: told what happens.
        burst: stop when no item waits any more.
        group: what the schedules of the tasks belong to: the name of the module that was loaded. Those of the group
            that are no longer in its code are removed. Default: the program itself.

    Returns:
        how many tasks still run, in threads that do not keep the process; 0 as a rule.

    Raises:
        RuntimeError: this is not the main thread, where signals arrive.
        ValueError: the instance has no tasks.
        BrokerError: no broker ever took this worker on, because of what it says or who it is.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a worker runs in the main thread, where signals arrive; elsewhere use Worker")
    AFTER_FORK.run()
    registry = instance.registry
    registry.layers.process_started()
    registering = Registering()
    hello = hello_of(instance, group or main_module(), {})
    settings = settings or WorkerSettings()
    tell_unserved(settings.queues, hello.queues)
    worker = Worker(
        instance.connection,
        registry.runnable,
        registry.names(),
        settings,
        observer,
        register_again=registering.again,
        sealing=instance.sealing,
        layers=registry.layers,
    )
    with _restored_handlers():
        return asyncio.run(_run(worker, registering, hello, settings.queues if burst else None))


def execute_tasks(
    instance: Instance,
    queues: str | bytes | Iterable[str | bytes] | None = None,
    threads_per_process: int = 1,
    processes: int = 1,
    wait_per_thread: Seconds = 1,
    module: str | None = None,
) -> None:
    """Run tasks until a signal; to be called in the main thread of a program.

    With one process they run in this one, beside whatever else it does. More processes are started anew, not
    forked: they import `module`, or else the program's own file under its module name, so what must not run there
    belongs under ``if __name__ == "__main__":``.

    Args:
        instance: whose tasks.
        queues: queues to serve, in this order. Default: every queue, by priority.
        threads_per_process: how many plain functions each process runs at once.
        processes: how many processes.
        wait_per_thread: seconds that a stop gives to what runs, for each thread of a process.
        module: module to import first, that defines or imports the tasks.

    Raises:
        LoadError: the module cannot be imported.
        RuntimeError: this is not the main thread, or several processes are asked for and it cannot be told
            what they would import.
        SystemExit: several processes did not end in an orderly way, such as for a second signal.
        ValueError: a number is out of its range.
    """
    settings = WorkerSettings(
        queues=queue_names(queues),
        threads=threads_per_process,
        wait=to_seconds(wait_per_thread, "wait_per_thread") * threads_per_process,
    )
    if processes == 1:
        name = None if module is None else module_name(module)
        if name is not None:
            import_module(name)
        run(instance, settings, group=name)
        return
    program = Program(_source_of(instance, module), settings, "info", "text", environment_of(instance))
    code = run_processes(program, Scale(processes, processes))
    if code:
        raise SystemExit(code)


def run_processes(
    program: Program,
    scale: Scale,
    *,
    greeted: Callable[[Hello], None] | None = None,
    refused: Callable[[str], None] | None = None,
    burst: bool = False,
    reload: Changes | None = None,
) -> int:
    """Run a connector and its task processes, until SIGTERM or SIGINT; see `Connector`.

    Returns:
        the exit code.
    """
    with _restored_handlers():
        connector = Connector(program, scale, greeted=greeted, refused=refused or _say, burst=burst, reload=reload)
        return asyncio.run(connector.run())


async def _run(worker: Worker, registering: Registering, hello: Hello, burst: Sequence[str] | None) -> int:
    loop = asyncio.get_running_loop()
    registering.know(hello)

    def stop(number: signal.Signals) -> None:
        if worker.stopping:
            _log.warning(Said("exiting now", signal=number.name))
            logging.shutdown()
            os._exit(128 + number)
        worker.stop()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGUSR1, worker.stop)
    try:
        with printed_on_signal(loop, lambda: [loop, *worker.loops]):
            if burst is None:
                return await worker.run()
            greeting: asyncio.Future[Hello] = loop.create_future()
            greeting.set_result(hello)
            async with beside(until_empty(greeting, burst, worker), "dibs-burst"):
                return await worker.run()
    finally:
        await registering.close()
        for number in (*_STOP_SIGNALS, signal.SIGUSR1):
            loop.remove_signal_handler(number)


@contextmanager
def _restored_handlers() -> Iterator[None]:
    """Leaves the program's own signal handlers as they were."""
    before = {number: signal.getsignal(number) for number in (*_STOP_SIGNALS, signal.SIGUSR1, signal.SIGUSR2)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _source_of(instance: Instance, module: str | None) -> str:
    """What a new process has to load to get the same instance, as the command line names it."""
    main = sys.modules["__main__"]
    if module is None:
        file = getattr(main, "__file__", None)
        spec = getattr(main, "__spec__", None)
        if spec is not None and spec.name != "__main__":  # python -m package.module
            module = spec.name
        elif file is not None:
            module = str(Path(file).resolve())
        else:
            raise RuntimeError("several processes need a module that they can import: say module=")
        namespace = vars(main)
    else:
        namespace = vars(import_module(module_name(module)))
    if instance is dibs.default():
        return module
    for name, value in namespace.items():
        if value is instance:
            return f"{module}:{name}"
    raise RuntimeError(f"several processes need the Dibs instance as a global name of {module}")


def environment_of(instance: Instance) -> dict[str, str]:
    """The environment of task processes: this one's, and where `instance` is connected."""
    connection = instance.connection
    said = {
        "DIBS_TARGET": f"https://{connection.target}" if connection.tls else connection.target,
        "DIBS_NAMESPACE": connection.namespace,
        # A token goes before a file, and the environment may have another one.
        "DIBS_TOKEN": "" if connection.token_file else connection.token,
        "DIBS_TOKEN_FILE": connection.token_file and connection.token_file.path,
        "DIBS_CA_FILE": connection.ca,
        "DIBS_CLIENT_CERT_FILE": connection.cert,
        "DIBS_CLIENT_KEY_FILE": connection.key,
    }
    return {**os.environ, **{name: str(value) for name, value in said.items() if value is not None}}


def _say(reason: str) -> None:
    _log.error(Said("no broker takes this worker on", reason=reason))
