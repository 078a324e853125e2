"""What a worker can be told, and what it is told to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dibs.rpc.connection import Connection
from dibs.worker.connector.connector import Connector
from dibs.worker.connector.scaling import Scale
from dibs.worker.connector.task_process import Program
from dibs.worker.process.load import LoadError, module_name
from dibs.worker.runtime import Worker
from dibs.worker.shared.settings import WorkerSettings, queue_names


@pytest.mark.parametrize(
    "bad",
    [
        {"threads": 0},
        {"threads": 1001},
        {"async_tasks": 0},
        {"wait": -1},
        {"wait": float("nan")},
        {"prefetch": 8001},
        {"horizon": 61},
        {"stale_after": 0},
        {"max_tasks_per_process": -1},
        {"max_memory_per_process": 1},
        {"worker_id": ""},
        {"worker_id": "a\n"},
    ],
    ids=str,
)
def test_a_setting_out_of_its_range_is_named(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        WorkerSettings(**bad)


def test_queues_may_be_one_or_several_text_or_bytes() -> None:
    assert [queue_names(None), queue_names("a"), queue_names(b"a")] == [(), ("a",), ("a",)]
    assert queue_names(["a", b"b"]) == ("a", "b")


def test_a_worker_without_tasks_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 10,000 tasks, not 0"):
        Worker(Connection(), lambda name: None, ["unknown"])


@pytest.mark.parametrize("processes", [0, 1001])
def test_a_number_of_processes_out_of_its_range_is_refused(processes: int) -> None:
    with pytest.raises(ValueError, match="processes"):
        Scale(processes, processes)


def test_a_name_that_leaves_no_room_for_the_number_of_the_process_is_refused() -> None:
    with pytest.raises(ValueError, match="worker_id"):
        Connector(program(worker_id="x" * 255), Scale(1, 1))


def program(**settings: Any) -> Program:
    return Program("tasks", WorkerSettings(**settings), "info", "text", {})


def test_a_file_of_a_package_has_the_name_that_its_tasks_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").touch()
    assert module_name(str(package / "tasks.py")) == "package.tasks"
    with pytest.raises(LoadError, match=r"no file .*other\.py"):
        module_name(str(package / "other.py"))
