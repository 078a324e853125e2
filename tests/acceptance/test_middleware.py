"""Middleware in real workers: in each of their processes, from its start to its stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import dibs

from ..support.processes import running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker
from . import middleware_jobs


@pytest.mark.parametrize("processes", [0, 2])
def test_each_process_tells_of_its_life(tmp_path: Path, processes: int) -> None:
    with running_broker() as broker:
        dibs.connect(broker.address)
        try:
            words = ("--processes", str(processes))
            module = middleware_jobs.__name__
            with running_worker(broker.address, tmp_path, *words, module=module) as worker:
                until(lambda: (tmp_path / "journal").read_text().count("worker started") == max(processes, 1))
                tasks = [middleware_jobs.plain, middleware_jobs.coroutine]
                pids = [task.execute().get(timeout=30) for task in tasks]
                worker.terminate()
                assert worker.wait() == 0
        finally:
            dibs.close()
    journal: dict[int, list[str]] = {}
    for line in (tmp_path / "journal").read_text().splitlines():
        number, _, text = line.partition(" ")
        journal.setdefault(int(number), []).append(text)
    assert len(journal) == max(processes, 1)
    for lines in journal.values():
        assert lines[:2] == ["process started", "worker started"]
        assert lines[-1] == "worker stopping"
    for task, pid in zip(("plain", "coroutine"), pids, strict=True):
        assert f"begins {task} for {os.getpid()}" in journal[pid]
        assert f"ends {task}" in journal[pid]
