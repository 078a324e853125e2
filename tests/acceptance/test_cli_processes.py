"""The operator's commands as processes of their own: exit codes, pipes, completion, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dibs.cli.completion import queue_names
from dibs.cli.exits import Exit

from ..support import operating
from ..support.operating import Command
from ..support.ports import free_port
from ..support.processes import Broker, environment, run_dibs, running_dibs


@pytest.fixture(scope="module")
def broker(redis_programs: dict[int, str]) -> Iterator[Broker]:
    with operating.newest_broker(redis_programs) as started:
        yield started


@pytest.fixture
def dibs(broker: Broker) -> Command:
    return Command(broker.address)


def settings(broker: Broker, **more: str) -> dict[str, str]:
    return {"DIBS_TARGET": broker.address, **more}


def test_as_a_process(broker: Broker) -> None:
    done = run_dibs("queues", "--sample", "0", "--json", env=settings(broker))
    assert (done.returncode, done.stderr) == (0, "")
    assert "queues" in json.loads(done.stdout)
    done = run_dibs("tasks", "never", env=settings(broker))
    assert (done.returncode, done.stdout) == (Exit.NOT_FOUND, "")
    assert done.stderr == "dibs: queue 'never' is not known\n"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(dibs: Command, broker: Broker, form: list[str]) -> None:
    ids = [f"long{len(form)}-{number}" for number in range(3)]
    for id in ids:
        dibs.fill("long", id, more=("--kwargs", json.dumps({"text": "x" * 50_000})))
    command = [sys.executable, "-m", "dibs", "show", *ids, *form]
    with subprocess.Popen(
        command, env=environment(settings(broker)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == Exit.NO


def test_completion_offers_names_of_queues_and_is_silent_without_a_broker(dibs: Command, broker: Broker) -> None:
    dibs.fill("completed", "c")

    class Context:
        params: dict[str, str] = {"target": broker.address}  # noqa: RUF012 - as the shell's context has it

    assert queue_names(Context(), "compl") == ["completed"]
    Context.params = {"target": f"127.0.0.1:{free_port()}"}
    assert queue_names(Context(), "") == []
    Context.params = {"namespace": "not:a name", "target": broker.address}
    assert queue_names(Context(), "") == []


def test_completion_in_a_shell(dibs: Command, broker: Broker) -> None:
    dibs.fill("shell-queue", "s")
    words = {"_DIBS_COMPLETE": "complete_bash", "COMP_WORDS": "dibs tasks shell-", "COMP_CWORD": "2"}
    # A busy machine may take longer than a person waits for a completion.
    said = (run_dibs(env=settings(broker, **words)).stdout.split() for _ in range(5))
    assert ["shell-queue"] in said


def test_top_reports_until_it_is_interrupted(broker: Broker) -> None:
    with running_dibs("top", "--json", "--interval", "100ms", env=settings(broker)) as top:
        top.until_printed('"in_per_second": 0')
        top.process.send_signal(signal.SIGINT)
        assert top.wait() == Exit.INTERRUPTED
        first, second = (json.loads(line) for line in top.output.splitlines()[:2])
    assert (first["in_per_second"], second["in_per_second"]) == (None, 0)
