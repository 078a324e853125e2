"""Metrics of broker processes, read by Prometheus's own parsers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.v1.broker_pb2_grpc import BrokerServiceStub

from ..support.imports import SOURCES
from ..support.pages import commands, matches
from ..support.ports import free_port
from ..support.processes import Broker, run_dibs, running_broker
from ..support.redis import RedisServer, running
from ..support.waiting import until
from ..support.worker_process import running_worker

MEASURED = ("--metrics", "0")


def page_of(broker: Broker) -> str:
    """Where its metrics are."""
    found = re.search(r"metrics at (http://\S+)", broker.output)
    assert found, broker.output
    return found[1]


def fetched(url: str, accept: str = "text/plain") -> str:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return bytes(reply.read()).decode()


class Seen:
    """The metrics of a broker at one time."""

    def __init__(self, broker: Broker) -> None:
        self._samples = [sample for family in read_text(fetched(page_of(broker))) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name that have those labels; 0 if there is none."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self._samples if sample.name == name}


def put(broker: Broker, *queues: str, task: str = "") -> None:
    """An item for each: a call of the task, or data if there is none."""
    kind = tpb.QUEUE_KIND_TASK if task else tpb.QUEUE_KIND_DATA
    items = [
        pb.EnqueueItem(queue=name, kind=kind, content=tpb.Content(payload=b"1", task_name=task)) for name in queues
    ]
    with grpc.insecure_channel(broker.address) as channel:
        BrokerServiceStub(channel).Enqueue(pb.EnqueueRequest(items=items), timeout=20)


@pytest.fixture(scope="module")
def shared_redis(redis_programs: dict[int, str]) -> Iterator[RedisServer]:
    with running(redis_programs[max(redis_programs)]) as server:
        yield server


@pytest.fixture(scope="module")
def brokers(shared_redis: RedisServer) -> Iterator[tuple[Broker, Broker]]:
    """Two on one Redis."""
    with ExitStack() as stack:
        one, other = (stack.enter_context(running_broker("--redis", shared_redis.url, *MEASURED)) for _ in range(2))
        yield one, other


@pytest.mark.parametrize(
    ("accept", "read"), [("text/plain", read_text), ("application/openmetrics-text; version=1.0.0", read_openmetrics)]
)
def test_prometheus_reads_the_page(brokers: tuple[Broker, Broker], accept: str, read: object) -> None:
    put(brokers[0], "read")
    names = {family.name for family in read(fetched(page_of(brokers[0]), accept))}  # type: ignore[operator]
    assert {"dibs_rpcs", "dibs_rpc_seconds", "dibs_queue_items", "dibs_redis_script_seconds", "dibs_redis_up"} <= names


def test_what_is_in_queues_is_told_by_state_and_by_every_broker(brokers: tuple[Broker, Broker]) -> None:
    put(brokers[0], "depths", "depths", "depths")
    with grpc.insecure_channel(brokers[0].address) as channel:
        stub = BrokerServiceStub(channel)
        later = pb.EnqueueItem(queue="depths", kind=tpb.QUEUE_KIND_DATA)
        later.delay.FromSeconds(600)
        stub.Enqueue(pb.EnqueueRequest(items=[later]), timeout=20)
        lease = pb.LeaseRequest(queues=["depths"], kind=tpb.QUEUE_KIND_DATA, max_items=1)
        lease.lease_timeout.FromSeconds(600)
        assert len(next(stub.Lease(lease, timeout=20)).deliveries) == 1
    for broker in brokers:
        until(lambda broker=broker: Seen(broker).value("dibs_queue_put_items_total", queue="depths") == 4)  # type: ignore[misc]
        told = Seen(broker)
        states = {
            state: told.value("dibs_queue_items", queue="depths", namespace="default", kind="data", state=state)
            for state in ("ready", "delayed", "leased", "dead", "parked", "set_aside")
        }
        assert states == {"ready": 2, "delayed": 1, "leased": 1, "dead": 0, "parked": 0, "set_aside": 0}
        assert told.value("dibs_queue_oldest_ready_seconds", queue="depths") > 0


def test_calls_are_counted_by_method_and_status(brokers: tuple[Broker, Broker]) -> None:
    with grpc.insecure_channel(brokers[1].address) as channel:
        stub = BrokerServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.Result(pb.ResultRequest(), timeout=20)
        stub.Result(pb.ResultRequest(ids=["nobody"]), timeout=20)
    told = Seen(brokers[1])
    method = "dibs.v1.BrokerService/Result"
    assert told.value("dibs_rpcs_total", method=method, code="INVALID_ARGUMENT") == 1
    assert told.value("dibs_rpcs_total", method=method, code="OK") == 1
    assert told.value("dibs_rpc_seconds_count", method=method) == 2
    assert told.value("dibs_rpcs_in_progress", method=method) == 0
    assert told.value("dibs_redis_script_seconds_count", script="lookup") == 1


def test_an_open_stream_is_in_progress_and_cancelled_when_its_client_is_gone(brokers: tuple[Broker, Broker]) -> None:
    method = "dibs.v1.BrokerService/Lease"
    before = Seen(brokers[1]).value("dibs_rpcs_total", method=method, code="CANCELLED")
    with grpc.insecure_channel(brokers[1].address) as channel:
        call = BrokerServiceStub(channel).Lease(
            pb.LeaseRequest(queues=["nothing"], kind=tpb.QUEUE_KIND_DATA, max_items=1, follow=True)
        )
        until(lambda: Seen(brokers[1]).value("dibs_rpcs_in_progress", method=method) == 1)
        call.cancel()
    until(lambda: Seen(brokers[1]).value("dibs_rpcs_in_progress", method=method) == 0)
    assert Seen(brokers[1]).value("dibs_rpcs_total", method=method, code="CANCELLED") == before + 1


def test_items_are_counted_by_task_and_outcome_and_settlements_by_what_became_of_them() -> None:
    with running_broker(*MEASURED) as broker:
        put(broker, "q", "q", task="mail.send")
        with grpc.insecure_channel(broker.address) as channel:
            stub = BrokerServiceStub(channel)
            again = pb.EnqueueItem(id="a", queue="d", kind=tpb.QUEUE_KIND_DATA)
            for _ in range(2):
                stub.Enqueue(pb.EnqueueRequest(items=[again]), timeout=20)
            lease = pb.LeaseRequest(queues=["d"], kind=tpb.QUEUE_KIND_DATA, max_items=1)
            lease.lease_timeout.FromSeconds(60)
            (delivery,) = next(stub.Lease(lease, timeout=20)).deliveries
            token = delivery.lease_token
            for _ in range(2):
                stub.Ack(pb.AckRequest(entries=[pb.AckEntry(id="a", lease_token=token)]), timeout=20)
        told = Seen(broker)
        assert told.value("dibs_enqueued_items_total", task="mail.send", outcome="created") == 2
        assert told.value("dibs_enqueued_items_total", task="", outcome="created") == 1
        assert told.value("dibs_enqueued_items_total", task="", outcome="exists") == 1
        assert told.value("dibs_settled_items_total", how="ack", outcome="ok") == 1
        assert told.value("dibs_settled_items_total", how="ack", outcome="not_found") == 1


def test_workers_and_their_credit_are_told() -> None:
    with running_broker(*MEASURED) as broker, grpc.insecure_channel(broker.address) as channel:
        hello = pb.WorkHello(kind=tpb.QUEUE_KIND_TASK, queues=["q"], worker_id="w", namespace="ours")
        asked = iter([pb.WorkRequest(hello=hello, add_credit=7)])

        def requests() -> Iterator[pb.WorkRequest]:
            yield from asked
            ended.wait(60)

        ended = threading.Event()
        call = BrokerServiceStub(channel).Work(requests())
        next(call)
        told = Seen(broker)
        assert told.value("dibs_workers", namespace="ours") == 1
        assert told.value("dibs_credit", namespace="ours") == 7
        ended.set()
        call.cancel()


def test_names_beyond_the_most_count_together_and_queues_are_left_out() -> None:
    with running_broker(*MEASURED, "--max-metric-names", "2") as broker:
        for name in ("a", "b", "c", "d"):
            put(broker, f"queue-{name}", task=name)
        told = Seen(broker)
        assert told.labels("dibs_enqueued_items_total", "task") == {"a", "b", "other"}
        assert told.value("dibs_enqueued_items_total", task="other") == 2
        assert told.labels("dibs_queue_items", "queue") == {"queue-a", "queue-b"}
        assert told.value("dibs_queues_untold") == 2


def test_a_redis_that_is_gone_is_told_and_takes_nothing_else_with_it(redis_programs: dict[int, str]) -> None:
    with (
        running(redis_programs[max(redis_programs)]) as server,
        running_broker("--redis", server.url, "--redis-timeout", "500ms", *MEASURED) as broker,
    ):
        put(broker, "q")
        assert Seen(broker).value("dibs_redis_up") == 1
        with server.frozen():
            until(lambda: "dibs_redis_up 0.0" in fetched(page_of(broker)))
            told = Seen(broker)
            assert told.value("dibs_queue_items") == 0
            assert told.value("dibs_rpcs_total", method="dibs.v1.BrokerService/Enqueue") == 1
            assert told.value("dibs_redis_script_failures_total") >= 1
        until(lambda: Seen(broker).value("dibs_queue_items", queue="q", state="ready") == 1)


def test_runs_of_schedules_tell_how_late_they_were_begun(tmp_path: Path) -> None:
    (tmp_path / "ticking.py").write_text(
        "import dibs\n\n\n@dibs.periodic_task(0.1, low_delay_okay=True)\ndef tick():\n    pass\n"
    )
    with running_broker(*MEASURED) as broker:
        env = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
        with running_worker(broker.address, tmp_path, module="ticking", env=env):
            until(lambda: Seen(broker).value("dibs_schedule_late_seconds_count") >= 1)


def test_who_says_nothing_keeps_nobody_else_from_the_page(brokers: tuple[Broker, Broker]) -> None:
    url = page_of(brokers[0])
    port = int(url.rpartition(":")[2].split("/")[0])
    with ExitStack() as stack:
        for _ in range(31):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert "dibs_redis_up" in fetched(url)
        # One thread for each, and those are all that there may be.
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        late = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert late.recv(1) == b""


def test_only_this_machine_is_served_unless_told() -> None:
    port = free_port()
    with running_broker("--metrics", str(port)) as broker:
        assert page_of(broker) == f"http://127.0.0.1:{port}/metrics"


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1:70000", "a b:1", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    done = run_dibs("broker", f"--metrics={address}", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "--metrics" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken_is_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running_broker() as broker:
            del broker
            done = run_dibs("broker", "--metrics", str(port), "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"metrics cannot be served at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_without_metrics_loads_nothing_of_them() -> None:
    program = "import sys; import dibs.broker.server; print(any('prometheus' in name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_page_of_the_docs_has_every_metric(brokers: tuple[Broker, Broker]) -> None:
    table = re.findall(r"^\| `(dibs_\w+)` \|([^|]*)\|", (SOURCES / "docs/metrics.md").read_text(), re.MULTILINE)
    told = {(name.removesuffix("_total"), *re.findall(r"`(\w+)`", labels)) for name, labels in table}
    page = fetched(page_of(brokers[0]))
    there = {family.name for family in read_text(page)}
    assert {name for name, *_ in told} == there
    samples = [sample for family in read_text(page) for sample in family.samples]
    for name, *labels in told:
        of_it = [sample for sample in samples if sample.name in (name, f"{name}_total", f"{name}_count")]
        assert all(set(sample.labels) == set(labels) for sample in of_it), name
    assert "At most 32" in (SOURCES / "docs/metrics.md").read_text()


def test_the_docs_commands_do_what_they_say(tmp_path: Path) -> None:
    (_, (command, shown)) = commands((SOURCES / "docs/metrics.md").read_text())
    port = free_port()
    with running_broker("--metrics", str(port)):
        printed = subprocess.run(
            ["bash", "-c", command.replace("9411", str(port))], capture_output=True, text=True, check=True
        ).stdout
    assert matches(shown, printed)
