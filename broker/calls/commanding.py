"""CommandWorker: finds out whether a worker takes commands, and has one passed on to it."""

from __future__ import annotations

from collections.abc import Iterable

from dibs.contract.lane_names import process_name
from dibs.v1 import admin_pb2 as pb

from ..border.errors import NotFound, NotPassedOn, PreconditionFailed
from ..engine.engine import MAX_BATCH, Engine
from ..messages.stored import read_stored
from ..messages.tasks import Command


async def command_worker(engine: Engine, call: Command) -> None:
    """Have a worker told what to do.

    Raises:
        EngineError: Redis does not answer.
        NotFound: no worker of that name is connected.
        NotPassedOn: no broker has passed the command on in time.
        PreconditionFailed: it takes no commands.
    """
    reports = await _reports(engine, call.namespace)
    if not any(report.takes_commands_as == call.worker for report in reports):
        if any(_is_of(report, call.worker) for report in reports):
            raise PreconditionFailed(
                "TAKES_NO_COMMANDS",
                f"worker {call.worker!r} takes no commands: it, or the broker that it is connected to, is of a version "
                "that knows none; stop it where it runs, with SIGTERM",
            )
        raise NotFound("worker", call.worker)
    if not await engine.commands.send(call.namespace, call.worker, call.content):
        raise NotPassedOn(call.worker)


async def _reports(engine: Engine, namespace: str) -> list[pb.WorkerInfo]:
    found: list[pb.WorkerInfo] = []
    after = ""
    while True:
        workers, after = await engine.workers.page(namespace, MAX_BATCH, after)
        reports = (read_stored(pb.WorkerInfo, one.info, f"report of worker {one.name}") for one in workers)
        found += [report for report in reports if report is not None]
        if not after:
            return found


def _is_of(report: pb.WorkerInfo, worker: str) -> bool:
    """Whether a stream that does not say so is one of that worker: they are numbered behind its name."""
    process = process_name(report.worker_id)
    return worker in (report.worker_id, process, _without_number(process))


def _without_number(process: str) -> str:
    worker, _, number = process.rpartition("-")
    return worker if _all_digits(number) else process


def _all_digits(text: Iterable[str]) -> bool:
    return all("0" <= one <= "9" for one in text)
