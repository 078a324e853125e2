"""The command ``dibs worker``."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from dibs.contract.sizes import parse_size
from dibs.errors import BrokerError
from dibs.rpc.targets import read_target

from .connector.recycling import measures_memory
from .connector.reloading import changes_below
from .connector.scaling import Scale
from .connector.task_process import Program
from .process.load import LoadError, group_of, hello_of, lanes_of, load, tasks_of
from .run import run, run_processes
from .shared.hello import Hello
from .shared.logs import Said, configure
from .shared.settings import EXIT_UNFIT, MAX_PROCESSES, WorkerSettings, default_worker_id, queue_names

_log = logging.getLogger("dibs.worker")
_DEFAULTS = WorkerSettings()

app = typer.Typer(add_completion=False)


def _env(name: str) -> str:
    return f"DIBS_WORKER_{name}"


@app.command(name="worker", context_settings={"help_option_names": ["-h", "--help"]})
def worker(
    module: Annotated[
        str,
        typer.Argument(
            envvar=_env("MODULE"),
            help="What to import: package.module or file.py; with :name, the tasks of that Dibs instance in it.",
        ),
    ],
    queues: Annotated[
        str,
        typer.Option(envvar=_env("QUEUES"), help="Queues to serve, in this order: a,b. Default: all, by priority."),
    ] = "",
    threads: Annotated[
        int, typer.Option(envvar=_env("THREADS"), help="How many plain functions a process runs at once, 1-1,000.")
    ] = _DEFAULTS.threads,
    async_tasks: Annotated[
        int,
        typer.Option(envvar=_env("ASYNC_TASKS"), help="How many async functions a process runs at once, 1-8,000."),
    ] = _DEFAULTS.async_tasks,
    processes: Annotated[
        int,
        typer.Option(
            envvar=_env("PROCESSES"),
            help="How many processes run tasks, 1-1,000, beside the one that holds their streams. "
            "0: everything in one process, for debuggers.",
        ),
    ] = 1,
    autoscale: Annotated[
        str,
        typer.Option(
            envvar=_env("AUTOSCALE"),
            help="MIN:MAX processes, as many as the work wants, instead of --processes: more while all are busy and "
            "items wait, fewer when there has been nothing to do for ten seconds.",
        ),
    ] = "",
    burst: Annotated[
        bool, typer.Option("--burst", envvar=_env("BURST"), help="Stop, with 0, when nothing waits any more.")
    ] = False,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            envvar=_env("RELOAD"),
            help="Replace processes when Python files below this folder change; for development.",
        ),
    ] = False,
    wait: Annotated[
        float, typer.Option(envvar=_env("WAIT"), help="Seconds that a stop gives to what runs.")
    ] = _DEFAULTS.wait,
    target: Annotated[
        str | None,
        typer.Option(envvar=_env("TARGET"), help="Broker: host:port, https:// before it for TLS. Also DIBS_TARGET."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(envvar=_env("NAMESPACE"), help="Namespace. Also DIBS_NAMESPACE.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar=_env("TOKEN"), help="Bearer token. Better as DIBS_TOKEN: others see command lines."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar=_env("TOKEN_FILE"), help="File with the token, read again. Also DIBS_TOKEN_FILE."),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(envvar=_env("CA"), help="PEM file of authorities to trust. Also DIBS_CA_FILE.")
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(envvar=_env("CERT"), help="PEM file of the client's certificate. Also DIBS_CLIENT_CERT_FILE."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar=_env("KEY"), help="PEM file of its key. Also DIBS_CLIENT_KEY_FILE.")
    ] = None,
    prefetch: Annotated[
        int,
        typer.Option(envvar=_env("PREFETCH"), help="Most items to hold beyond those that run, 0-8,000."),
    ] = _DEFAULTS.prefetch,
    horizon: Annotated[
        float,
        typer.Option(envvar=_env("HORIZON"), help="Hold only what begins within these seconds."),
    ] = _DEFAULTS.horizon,
    stale_after: Annotated[
        float,
        typer.Option(envvar=_env("STALE_AFTER"), help="Seconds after which an item that could not begin goes back."),
    ] = _DEFAULTS.stale_after,
    log_runs: Annotated[
        float,
        typer.Option(
            envvar=_env("LOG_RUNS"), help="Log a line for each run that took so many seconds. 0: every run; inf: none."
        ),
    ] = _DEFAULTS.log_runs,
    hard: Annotated[
        float,
        typer.Option(
            envvar=_env("HARD"),
            help="Seconds after its time limit in which a run must end, or its process is replaced.",
        ),
    ] = _DEFAULTS.hard,
    max_tasks_per_process: Annotated[
        int,
        typer.Option(
            envvar=_env("MAX_TASKS_PER_PROCESS"),
            help="Replace a process after so many tasks, or up to a tenth fewer; it ends what it runs. 0: never.",
        ),
    ] = 0,
    max_memory_per_process: Annotated[
        str,
        typer.Option(
            envvar=_env("MAX_MEMORY_PER_PROCESS"),
            help="Replace a process that has so much memory, such as 512MiB, likewise; at least 16MiB. Linux only.",
        ),
    ] = "",
    worker_id: Annotated[
        str, typer.Option(envvar=_env("ID"), help="Who is working, for operators. Default: host and process id.")
    ] = "",
    log_level: Annotated[
        str, typer.Option(envvar=_env("LOG_LEVEL"), help="Least level to log: debug, info, warning, error.")
    ] = "info",
    log_format: Annotated[str, typer.Option(envvar=_env("LOG_FORMAT"), help="text or json.")] = "text",
) -> None:
    """Run the tasks that MODULE defines.

    SIGTERM or Ctrl-C stops it: what runs may finish within --wait, what has not begun goes back to its queue. A second
    one ends it at once. SIGUSR1 stops it, too, however often it comes. SIGUSR2 prints what every thread is doing.
    """
    try:
        configure(log_level, log_format)
        settings = WorkerSettings(
            queues=queue_names(part.strip() for part in queues.split(",") if part.strip()),
            threads=threads,
            async_tasks=async_tasks,
            wait=wait,
            prefetch=prefetch,
            horizon=horizon,
            stale_after=stale_after,
            log_runs=log_runs,
            hard=hard,
            max_tasks_per_process=max_tasks_per_process,
            max_memory_per_process=_memory(max_memory_per_process),
            worker_id=worker_id or default_worker_id(),
        )
        if not 0 <= processes <= MAX_PROCESSES:
            raise ValueError(f"--processes must be between 0 and {MAX_PROCESSES:,}, not {processes}")
        if not processes and (max_tasks_per_process or max_memory_per_process):
            raise ValueError("--max-tasks-per-process and --max-memory-per-process do not go with --processes 0")
        if not processes and (autoscale or reload):
            raise ValueError("--autoscale and --reload do not go with --processes 0")
        if processes > 1 and autoscale:
            raise ValueError("--autoscale says how many processes there are: leave out --processes")
        scale = Scale.of(autoscale) if autoscale else Scale(max(1, processes), max(1, processes))
        changes = changes_below(Path.cwd()) if reload else None
        _connect_by_environment(target, namespace, token, token_file, ca, cert, key)
        if processes:
            program = Program(module, settings, log_level, log_format, os.environ)
            _leave(
                run_processes(
                    program,
                    scale,
                    greeted=lambda hello: _tell(hello, settings, target, namespace, scale.least),
                    refused=_print,
                    burst=burst,
                    reload=changes,
                )
            )
    except ValueError as error:
        _refuse(str(error))
    _work(module, settings, target, namespace, burst=burst)


def _work(module: str, settings: WorkerSettings, target: str | None, namespace: str | None, *, burst: bool) -> NoReturn:
    """Works in this process."""
    try:
        instance = load(module)
        lanes = lanes_of(tasks_of(instance.registry), settings)
    except (LoadError, ValueError) as error:
        _refuse(str(error))
    _tell(hello_of(instance, group_of(module), lanes), settings, target, namespace, 0)
    try:
        unfinished = run(instance, settings, group=group_of(module), burst=burst)
    except (BrokerError, ValueError) as error:
        _refuse(str(error))
    if unfinished:
        # Their threads would be torn down with the interpreter under them, at a random place.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    _leave(0)


def _tell(hello: Hello, settings: WorkerSettings, target: str | None, namespace: str | None, processes: int) -> None:
    """Says in the log what works here, and which options have no effect."""
    connection = hello.connection
    _log.info(
        Said(
            "worker",
            target=connection.target,
            namespace=connection.namespace,
            queues=",".join(settings.queues) or "(all)",
            tasks=len(hello.task_names),
            processes=processes,
            threads=settings.threads,
        )
    )
    for name, asked, used in (
        ("--target", target and read_target(target).name, connection.target),
        ("--namespace", namespace, connection.namespace),
    ):
        if asked and asked != used:
            _log.warning(Said(f"{name} is not used: the module connects by itself", asked=asked, used=used))


def _memory(text: str) -> int:
    """Bytes.

    Raises:
        ValueError: it is no amount, or memory cannot be measured here.
    """
    if not text:
        return 0
    try:
        size = parse_size(text)
    except ValueError as error:
        raise ValueError(f"--max-memory-per-process {error}") from error
    if not measures_memory():
        raise ValueError("--max-memory-per-process needs /proc, as Linux has it")
    return int(size)


def _connect_by_environment(
    target: str | None,
    namespace: str | None,
    token: str | None,
    token_file: Path | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
) -> None:
    """Pass the options on to instances that connect by the environment, here and in the worker processes.

    Raises:
        ValueError: the target is none.
    """
    if target:
        read_target(target, "--target")
    said = {
        "DIBS_TARGET": target,
        "DIBS_NAMESPACE": namespace,
        "DIBS_TOKEN": token,
        "DIBS_TOKEN_FILE": token_file,
        "DIBS_CA_FILE": ca,
        "DIBS_CLIENT_CERT_FILE": cert,
        "DIBS_CLIENT_KEY_FILE": key,
    }
    os.environ.update({name: str(value) for name, value in said.items() if value})
    if token_file and not token:
        # A token goes before a file, and this one was not asked for.
        os.environ.pop("DIBS_TOKEN", None)


def _refuse(text: str) -> NoReturn:
    _print(text)
    _leave(EXIT_UNFIT)


def _print(text: str) -> None:
    print(f"dibs worker: {text}", file=sys.stderr)


def _leave(code: int) -> NoReturn:
    raise typer.Exit(code)


#: The command, for the program that mounts it.
command = typer.main.get_command(app)
