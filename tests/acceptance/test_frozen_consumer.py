"""A consumer of a data queue freezes for longer than leases last: its loop gets nothing whose lease is over."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dibs import Dibs

from ..support import redis as redis_support
from ..support.imports import SOURCES
from ..support.processes import Broker, environment, running_broker
from ..support.waiting import until


@pytest.fixture
def broker() -> Iterator[Broker]:
    programs = redis_support.found_programs()
    with redis_support.running(programs[max(programs)]) as server, running_broker("--redis", server.url) as broker:
        yield broker


@pytest.mark.parametrize("before", [True, False], ids=["had some before", "had none before"])
@pytest.mark.parametrize("face", ["blocking", "in a loop"])
def test_what_a_frozen_consumer_was_sent_meanwhile_it_gets_once(
    broker: Broker, face: str, before: bool, tmp_path: Path
) -> None:
    def got(value: str) -> int:
        path = tmp_path / "journal"
        return sum(line.startswith(value + " ") for line in path.read_text().splitlines()) if path.exists() else 0

    words = [sys.executable, "-m", "tests.acceptance.frozen_consumer", face, broker.address]
    with (
        subprocess.Popen(words, cwd=SOURCES, env=environment({"JOBS_FOLDER": str(tmp_path)})) as program,
        Dibs(broker.address) as app,
    ):
        consumer = psutil.Process(program.pid)
        try:
            readings = app.Data("readings", vis_timeout=2, attempts=5)
            until(lambda: [worker for worker in app.admin.workers() if worker.credit], "the consumer waits", 20)
            if before:
                readings.put_data("before")
                until(lambda: got("before"), "it gets what comes", 20)
            time.sleep(1)  # so that what comes next is asked for, and it has looked at the time
            consumer.suspend()
            readings.put_data("meanwhile")
            # Longer than its lease, whatever the first one was worth.
            time.sleep(5)
            consumer.resume()
            until(lambda: sum(readings.currently_available()) == 0 and got("meanwhile"), "it is done", 20)
            assert got("meanwhile") == 1
            # And goes on.
            readings.put_data("later")
            until(lambda: got("later"), "it gets what comes", 20)
        finally:
            consumer.resume()
            program.kill()
