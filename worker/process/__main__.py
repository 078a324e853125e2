"""``python -m dibs.worker.process``: a task process. Its connector starts it, nobody else."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import sys
from typing import NoReturn

from dibs.tasks.context import AFTER_FORK

from ..shared.logs import configure
from ..shared.memory import OtherVersion
from ..shared.pair import inherited
from ..shared.settings import EXIT_UNFIT, WorkerSettings
from .load import LoadError, group_of, hello_of, lanes_of, load, tasks_of
from .process import Process, refuse_breakpoints


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dibs task process")
    for name in ("stream", "memory", "threads", "async-tasks", "prefetch"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("wait", "horizon", "stale-after", "log-runs"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--log-level", required=True)
    parser.add_argument("--log-format", required=True)
    parser.add_argument("source")
    return parser.parse_args()


def main() -> None:
    """Load the tasks, and run them until the connector says so."""
    words = _arguments()
    configure(words.log_level, words.log_format)
    try:
        end = inherited(words.stream, words.memory)
    except OtherVersion as error:
        sys.exit(f"dibs worker: {error}")
    # For signals that end the process anyway: their stack goes to stderr before.
    faulthandler.enable()
    refuse_breakpoints()
    settings = WorkerSettings(
        threads=words.threads,
        async_tasks=words.async_tasks,
        wait=words.wait,
        prefetch=words.prefetch,
        horizon=words.horizon,
        stale_after=words.stale_after,
        log_runs=words.log_runs,
    )
    try:
        instance = load(words.source)
        tasks = tasks_of(instance.registry)
    except (LoadError, ValueError) as error:
        _refuse(str(error))
    AFTER_FORK.run()
    layers = instance.registry.layers
    layers.process_started()
    process = Process(end, tasks, settings, instance.sealing, layers)
    hello = hello_of(instance, group_of(words.source), lanes_of(tasks, settings))
    if not process.run(hello):
        # What still runs would be torn down with the interpreter under it, at a random place.
        _leave()


def _refuse(text: str) -> NoReturn:
    print(f"dibs worker: {text}", file=sys.stderr)
    sys.exit(EXIT_UNFIT)


def _leave() -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
