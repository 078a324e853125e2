"""OpenTelemetry and Sentry across real processes: what a worker's runs belong to, and what is told of their errors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.processes import running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where spans and events are; `traced_jobs` is connected to a broker, and a worker runs them."""
    monkeypatch.setenv("JOBS_FOLDER", str(tmp_path))
    from . import traced_jobs

    with running_broker() as broker:
        traced_jobs.app.connect(broker.address)
        module = f"{traced_jobs.__name__}:app"
        with running_worker(broker.address, tmp_path, "--processes", "1", module=module):
            yield tmp_path
        traced_jobs.app.close()


def test_a_trace_goes_through_all_programs(folder: Path) -> None:
    from .traced_jobs import fails, outer, provider

    with provider.get_tracer("test").start_as_current_span("request") as request:
        outer.execute("x").get(timeout=30)
    fails.execute("s3cret").wait(30, until="done")
    spans: list[dict[str, Any]] = []

    def all_there() -> bool:
        spans[:] = lines(folder / "spans")
        return len(spans) >= 1 + 4 + 3

    until(all_there, "spans")

    def of(name: str, task: str) -> list[dict[str, Any]]:
        found = [one for one in spans if one["name"] == name and one["attributes"]["dibs.task"].endswith(task)]
        return sorted(found, key=lambda one: str(one["start_time"]))

    [created], [processed] = of("create default", "outer"), of("process default", "outer")
    [created_inside], [processed_inside] = of("create deep", "inner"), of("process deep", "inner")
    trace = f"0x{request.get_span_context().trace_id:032x}"
    chain = [created, processed, created_inside, processed_inside]
    assert {one["context"]["trace_id"] for one in chain} == {trace}
    assert [one["parent_id"] for one in chain[1:]] == [one["context"]["span_id"] for one in chain[:-1]]
    assert [one["kind"] for one in chain] == ["SpanKind.PRODUCER", "SpanKind.CONSUMER"] * 2
    assert created["pid"] == os.getpid() != processed["pid"]
    assert processed["attributes"]["messaging.system"] == "dibs"
    assert processed["attributes"]["messaging.destination.name"] == "default"

    [made] = of("create default", "fails")
    first, second = of("process default", "fails")
    assert (first["parent_id"], second["parent_id"]) == (made["context"]["span_id"], None)
    assert first["context"]["trace_id"] == made["context"]["trace_id"] != second["context"]["trace_id"]
    assert [link["context"]["span_id"] for link in second["links"]] == [made["context"]["span_id"]]
    assert second["attributes"]["dibs.attempt"] == 2
    for one in (first, second):
        assert one["status"]["status_code"] == "ERROR"
        assert [event["name"] for event in one["events"]] == ["exception"]


def test_errors_are_told_to_sentry_in_the_trace_of_their_call(folder: Path) -> None:
    from .traced_jobs import fails, says_no

    handle = fails.execute("s3cret")
    handle.wait(30, until="done")
    says_no.execute().wait(30, until="done")
    events: list[dict[str, Any]] = []

    def all_there() -> bool:
        events[:] = lines(folder / "events")
        runs = [one for one in events if one.get("type") == "transaction"]
        return len(runs) >= 3

    until(all_there, "events")
    errors = [one for one in events if "exception" in one]
    assert [one["exception"]["values"][-1]["value"] for one in errors] == ["no way", "no way"]
    assert [one["level"] for one in errors] == ["warning", "error"]
    for attempt, one in enumerate(errors, 1):
        assert one["tags"]["dibs.task"] == fails.name
        assert one["contexts"]["dibs"]["id"] == handle.taskid
        assert one["contexts"]["dibs"]["attempt"] == attempt
        assert one["contexts"]["dibs"]["args"] == ["s3cret"]
    runs = [one for one in events if one.get("type") == "transaction" and one["transaction"] == fails.name]
    assert {one["contexts"]["trace"]["op"] for one in runs} == {"queue.process"}
    assert len({one["contexts"]["trace"]["trace_id"] for one in (*runs, *errors)}) == 1
