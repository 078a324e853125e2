"""What a worker can be told, and what it is told to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dibs.connection import Connection
from dibs.worker.load import LoadError, module_name
from dibs.worker.runtime import Worker
from dibs.worker.settings import WorkerSettings, queue_names
from dibs.worker.supervisor import Supervisor, child_command


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


def test_a_number_of_processes_out_of_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="processes"):
        Supervisor(lambda number, parent_fd: [], 0, 1, {})


def test_processes_are_told_apart_by_their_numbers() -> None:
    command = child_command("tasks", WorkerSettings(queues=("a", "b")), 2, 9, worker_id="mine")
    assert command[-2:] == ["--", "tasks"]
    assert command[command.index("--worker-id") + 1] == "mine-2"
    assert command[command.index("--queues") + 1] == "a,b"


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
