"""Today's client, worker and command with a broker of version 0.1, as in an upgrade in the wrong order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from dibs import Cancelled, Dibs, InvalidArgument, State
from dibs.rpc import operations
from dibs.v1 import admin_pb2, admin_pb2_grpc

from ..support.older_broker import running_older_broker
from ..support.operating import dibs as command
from ..support.processes import Broker
from ..support.waiting import until
from ..support.worker_process import running_worker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_older_broker(tmp_path_factory.mktemp("older")) as started:
        yield started


@pytest.fixture
def app(broker: Broker) -> Iterator[Dibs]:
    with Dibs(broker.address) as connected:
        yield connected


def test_the_broker_is_of_a_version_that_announces_nothing(broker: Broker) -> None:
    with grpc.insecure_channel(broker.address) as channel:
        info = admin_pb2_grpc.AdminServiceStub(channel).GetServerInfo(admin_pb2.GetServerInfoRequest(), timeout=10)
    assert info.broker_id
    assert not info.HasField("limits")


def test_tasks_run_and_their_results_are_kept(app: Dibs, broker: Broker, tmp_path: Path) -> None:
    quick = app.task(name="quick", save_results=60)(lambda label: 0)
    with running_worker(broker.address, tmp_path, "--processes", "2") as worker:
        with app.batch():
            handles = [quick.execute(str(n)) for n in range(1_200)]
        one = quick.execute("one")
        assert one.get(30) > 0
        until(lambda: all(app.results(handle.taskid for handle in handles)), "all results", 60)
        worker.terminate()
        assert worker.wait() == 0
    assert len((tmp_path / "journal").read_text().splitlines()) == 1_201


def test_a_task_is_cancelled_before_and_while_it_runs(app: Dibs, broker: Broker, tmp_path: Path) -> None:
    hold = app.task(name="hold", vis_timeout=60, save_results=60)(lambda label: 0)
    with running_worker(broker.address, tmp_path, "--threads", "1"):
        running, waiting = hold.execute("running"), hold.execute("waiting")
        assert running.wait(30, until="started")
        assert waiting.cancel() is Cancelled.NEVER_RUNS
        assert running.cancel() is Cancelled.TOLD
        (tmp_path / "running").touch()
        assert running.wait(30, until="done")


def test_what_dies_with_its_process_has_failed_and_the_rest_goes_on(app: Dibs, broker: Broker, tmp_path: Path) -> None:
    die = app.task(name="die", vis_timeout=600, attempts=2, retry_delay=0.05, save_results=60)(lambda: None)
    quick = app.task(name="quick", save_results=60)(lambda label: 0)
    with running_worker(broker.address, tmp_path, "--processes", "1"):
        dying = die.execute()
        assert dying.wait(30, until="done")
        assert dying.state is State.FAILED
        assert quick.execute("after").get(30) > 0
    assert "crashed" in app.transport.run(operations.result(app.namespace, [dying.taskid]))[0].error


def test_an_option_of_today_is_refused_and_calls_without_it_go_on(app: Dibs, broker: Broker, tmp_path: Path) -> None:
    """What `docs/deployment.md` says of them: set them when every broker knows them."""
    lasting = app.task(name="lasting", lease=30, time_limit=60, expires=60)(lambda label: 0)
    quick = app.task(name="quick", save_results=60)(lambda label: 0)
    with running_worker(broker.address, tmp_path, "--processes", "1"):
        with pytest.raises(InvalidArgument, match="does not know"):
            lasting.execute("refused")
        assert quick.execute("taken").get(30) > 0


def test_data_and_locks(app: Dibs) -> None:
    queue = app.Data("older")
    queue.put_data([{"n": n} for n in range(1_100)], is_one=False)
    assert len(queue.get_data(1_000)) + len(queue.get_data(1_000)) == 1_100
    with app.lock("older"):
        pass


def test_the_command_shows_what_there_is(broker: Broker) -> None:
    for words in (("queues",), ("schedules",), ("workers",), ("doctor",)):
        said = command(broker.address, *words, width=160)
        assert said.code == 0, said.err + said.out
