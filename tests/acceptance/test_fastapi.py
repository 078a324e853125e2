"""The FastAPI example as its users run it: broker, worker and server are processes, and requests go over HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..support.imports import SOURCES
from ..support.ports import free_port
from ..support.processes import Broker, environment, running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker


@contextmanager
def running_service(target: str, module: str = "examples.fastapi_service.service:app") -> Iterator[httpx.Client]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", module, "--port", str(port), "--log-level", "warning"]
    env = environment({"DIBS_TARGET": target})
    process = subprocess.Popen(command, cwd=SOURCES, env=env)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until(lambda: listens(client))
            yield client
    finally:
        process.terminate()
        assert process.wait(30) == 0 or process.returncode == -15


def listens(client: httpx.Client) -> bool:
    try:
        client.get("/openapi.json")
    except httpx.ConnectError:
        return False
    return True


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as started:
        yield started


@pytest.fixture(scope="module")
def client(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("jobs")
    env = {"PYTHONPATH": os.pathsep.join((str(SOURCES), os.environ.get("PYTHONPATH", "")))}
    with (
        running_worker(broker.address, folder, "--threads", "2", module="examples.fastapi_service.tasks", env=env),
        running_service(broker.address) as service,
    ):
        yield service


def events(client: httpx.Client, path: str) -> list[tuple[str, dict[str, Any]]]:
    """All events of a stream, to its end."""
    found = []
    with client.stream("GET", path) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    for block in text.split("\n\n"):
        if block.startswith("event: "):
            name, data = block.removeprefix("event: ").split("\ndata: ")
            found.append((name, json.loads(data)))
    return found


def test_a_request_starts_a_task_and_another_one_gets_its_result(client: httpx.Client) -> None:
    begun = client.post("/reports", params={"year": 2026})
    assert begun.status_code == 202
    assert begun.json() == {"id": begun.json()["id"], "state": None, "result": None, "error": None}
    done = client.get(f"/reports/{begun.json()['id']}", params={"wait": 30}).json()
    assert done["state"] == "SUCCEEDED"
    assert done["result"] == {"2026-01": 2026, "2026-02": 4052, "2026-03": 6078}


def test_a_status_is_told_at_once(client: httpx.Client) -> None:
    id = client.post("/reports", params={"year": 2026, "seconds": 20}).json()["id"]
    assert client.get(f"/tasks/{id}").json()["state"] in ("WAITING", "STARTED")
    assert client.delete(f"/tasks/{id}").json()["cancelled"] in ("told", "never_runs")


def test_what_is_not_known_is_not_found(client: httpx.Client) -> None:
    found = client.get("/tasks/nobody")
    assert (found.status_code, found.json()["state"]) == (404, "UNKNOWN")
    assert client.delete("/tasks/nobody").json() == {"id": "nobody", "cancelled": "not_known"}


def test_an_error_is_told_without_code_of_the_worker(client: httpx.Client) -> None:
    id = client.post("/reports", params={"year": 1800}).json()["id"]
    found = client.get(f"/tasks/{id}", params={"wait": 30}).json()
    assert found["state"] == "FAILED"
    assert found["error"] == "dibs.tasks.dispositions.Reject: there are no records before 1900"


def test_events_tell_each_state_and_the_result(client: httpx.Client) -> None:
    id = client.post("/reports", params={"year": 2026, "seconds": 1}).json()["id"]
    told = events(client, f"/tasks/{id}/events")
    assert told[-1] == (
        "end",
        {"id": id, "state": "SUCCEEDED", "result": {"2026-01": 2026, "2026-02": 4052, "2026-03": 6078}, "error": None},
    )
    assert ("state", "STARTED") in [(name, data["state"]) for name, data in told]


def test_a_cancelled_task_ends_its_events(client: httpx.Client) -> None:
    id = client.post("/reports", params={"year": 2026, "seconds": 30}).json()["id"]
    client.delete(f"/tasks/{id}")
    assert events(client, f"/tasks/{id}/events")[-1][0] in ("end", "state")


@pytest.mark.parametrize(("id", "wait", "status"), [("x" * 200, 0, 422), ("a", 61, 422), ("a", -1, 422)])
def test_what_is_out_of_range_is_the_callers_fault(client: httpx.Client, id: str, wait: int, status: int) -> None:
    assert client.get(f"/tasks/{id}", params={"wait": wait}).status_code == status


def test_the_schema_tells_the_type_of_the_result(client: httpx.Client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    (typed,) = (schema for name, schema in schemas.items() if name.startswith("TaskResponse_dict"))
    assert typed["properties"]["result"]["anyOf"][0]["additionalProperties"] == {"type": "integer"}


def test_a_broker_that_is_away_makes_503_and_nothing_else_of_our_network() -> None:
    with running_service(f"127.0.0.1:{free_port()}", "tests.acceptance.impatient_service:app") as client:
        answer = client.post("/start")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json() == {"detail": "the task queue is not available"}


def test_an_application_without_a_lifespan_is_told_what_it_lacks() -> None:
    with running_service("127.0.0.1:1", "tests.acceptance.impatient_service:without_lifespan") as client:
        assert client.get("/tasks/a").status_code == 500


def test_results_that_are_encrypted_are_told_in_the_clear_to_who_may_ask(broker: Broker, tmp_path: Path) -> None:
    module = "tests.acceptance.sealed_service"
    with (
        running_worker(broker.address, tmp_path, module=f"{module}:sealed"),
        running_service(broker.address, f"{module}:app") as client,
    ):
        id = client.post("/doubles", params={"number": 21}).json()["id"]
        assert client.get(f"/tasks/{id}", params={"wait": 30}).json()["result"] == 42


def test_the_page_shows_the_example() -> None:
    page = (SOURCES / "docs/frameworks.md").read_text()
    part = page[page.index("## FastAPI") : page.index("## Django")]
    for block in re.findall(r"```python\n(.*?)```", part, re.DOTALL):
        assert any(block in path.read_text() for path in (SOURCES / "examples/fastapi_service").glob("*.py")), block
