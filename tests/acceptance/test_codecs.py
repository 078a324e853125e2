"""Encrypted payloads, with workers and commands as processes of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from ..support import operating
from ..support.operating import Command
from ..support.processes import Broker
from ..support.waiting import until
from ..support.worker_process import running_worker
from . import codec_jobs

MODULE = "tests.acceptance.codec_jobs:app"


@pytest.fixture(scope="module")
def broker(redis_programs: dict[int, str]) -> Iterator[Broker]:
    with operating.newest_broker(redis_programs) as started:
        yield started


@pytest.fixture
def command(broker: Broker) -> Command:
    return Command(broker.address)


@pytest.fixture(autouse=True)
def connected(broker: Broker) -> Iterator[None]:
    """The instance of the jobs, in this process."""
    with mock.patch.dict(os.environ, {"DIBS_TARGET": broker.address}):
        yield
    codec_jobs.app.close()


def test_workers_decode_and_encode_in_their_task_processes(broker: Broker, tmp_path: Path, command: Command) -> None:
    with running_worker(broker.address, tmp_path, "--processes", "2", module=MODULE):
        with codec_jobs.app.batch():
            handles = [task.execute(f"text {n}") for n in range(50) for task in (codec_jobs.echo, codec_jobs.aecho)]
        assert [handle.get(30) for handle in handles] == [f"text {n}" for n in range(50) for _ in range(2)]
        dead = codec_jobs.die.execute("long " * 1000)
        assert dead.wait(30, until="done")
    shown = command("show", handles[0].taskid).out
    assert "<encrypted with key one: " in shown
    [item] = command.json("show", handles[0].taskid)["items"]
    assert (item["result"], item["result_codec"]) == (None, "aes-gcm:one")
    assert "<encrypted with key one: " in command("dead", "show", "--args").out
    [letter] = command.json("dead", "show", "--args")["items"]
    assert letter["content"]["headers"] == {"dibs-codec": "zlib,aes-gcm:one"}
    assert letter["content"]["payload_codec"] == "zlib,aes-gcm:one"


def test_the_command_waits_for_what_it_cannot_read(broker: Broker, tmp_path: Path, command: Command) -> None:
    with running_worker(broker.address, tmp_path, module=MODULE):
        said = command("enqueue", "echo", "--args", '["by hand"]', "--keep", "1m", "--wait", "30s").out
    assert "succeeded" in said
    assert "<encrypted with key one: 53 bytes>" in said


def test_a_worker_without_the_key_leaves_items_to_one_that_has_it(
    broker: Broker, tmp_path: Path, command: Command
) -> None:
    handle = codec_jobs.echo.execute("for who has the key")
    with running_worker(broker.address, tmp_path, module=MODULE, env={"CODEC_KEYS": "two"}) as worker:
        worker.until_printed("there is no key 'one' here, only two")
        until(lambda: handle.status == "early")
    [item] = command.json("tasks", "default", "--section", "delayed", "--args")["items"]
    assert item["id"] == handle.taskid
    assert "<encrypted with key one: " in command("tasks", "default", "-s", "delayed", "--args").out
    codec_jobs.app.flush_tasks(force_delayed=True, timeout=0)
    with running_worker(broker.address, tmp_path, module=MODULE, env={"CODEC_KEYS": "one,two"}):
        until(lambda: handle.state.is_over)
    [done] = command.json("show", handle.taskid)["items"]
    assert json.dumps(done["result_codec"]) == '"aes-gcm:two"'
