"""What becomes of mistakes that users of rpqueue make with tasks, on real processes."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

import dibs
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from . import manual_jobs as jobs
from .manual_scene import LONG_S, Scene, running_scene


@pytest.fixture(scope="module")
def scene(redis_programs: dict[int, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path_factory.mktemp("manual")) as started:
        yield started


@pytest.fixture
def label(scene: Scene) -> Iterator[str]:
    with scene.label() as name:
        yield name


def test_a_task_that_no_worker_knows_waits_and_does_not_spin(scene: Scene, label: str) -> None:
    handle = dibs.call_task(label, "strays")
    scene.worker.until_printed(f"task={label}")
    assert not handle.wait(0.5)
    assert not handle.state.has_started
    told = [line for line in scene.worker.output.splitlines() if label in line]
    assert len(told) == 1
    assert "is not known here" in told[0]
    assert dibs.clear_queue("strays", delete=True) == 1


def test_arguments_that_are_not_json(scene: Scene, label: str) -> None:
    with pytest.raises(dibs.PayloadError):
        jobs.task_with_results.execute(object())
    item = pb.EnqueueItem(id=label, queue="default", kind=tpb.QUEUE_KIND_TASK)
    item.content.task_name, item.content.payload = jobs.task_with_results.name, b"no json"
    item.policy.result_ttl.FromSeconds(30)
    with grpc.insecure_channel(scene.broker.address) as channel:
        broker_pb2_grpc.BrokerServiceStub(channel).Enqueue(pb.EnqueueRequest(items=[item]), timeout=LONG_S)
    with pytest.raises(dibs.TaskFailed, match="not JSON"):
        dibs.default().handle(label).get(LONG_S)


def test_a_result_that_is_not_json(scene: Scene) -> None:
    with pytest.raises(dibs.TaskFailed, match=rf"the result of task {jobs.no_json.name} cannot be written as JSON"):
        jobs.no_json.execute().get(LONG_S)


def test_cron_strings_and_periods_that_make_no_sense(scene: Scene) -> None:
    with pytest.raises(ValueError, match="crontab '0 5 tue"):
        dibs.cron_task("0 5 tue * *")
    with pytest.raises(ValueError, match="crontab"):
        dibs.cron_task("nonsense")
    with pytest.raises(ValueError, match="run_every"):
        dibs.periodic_task(0)
    with pytest.raises(ValueError, match="low_delay_okay"):
        dibs.periodic_task(0.5)
