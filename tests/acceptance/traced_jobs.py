"""Tasks that are traced and watched, for workers of tests: spans and events go to files, a line each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentry_sdk
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

import dibs
from dibs.middleware import OpenTelemetry, Sentry

app = dibs.Dibs()


def note(name: str, line: dict[str, Any]) -> None:
    with (Path(os.environ["JOBS_FOLDER"]) / name).open("a") as file:
        file.write(json.dumps(line) + "\n")


class FileExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            note("spans", {**json.loads(span.to_json()), "pid": os.getpid()})
        return SpanExportResult.SUCCESS


class FileTransport(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            event = item.get_event() or item.get_transaction_event()
            if event is not None:
                note("events", json.loads(json.dumps(event, default=str)))


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
sentry_sdk.init(
    dsn="http://key@127.0.0.1:1/1", transport=FileTransport, traces_sample_rate=1.0, default_integrations=False
)
app.use(OpenTelemetry(provider), Sentry(arguments=True))


@app.task(save_results=60)
def outer(text: str) -> str:
    inner.execute(text)
    return text


@app.task(queue="deep", save_results=60)
async def inner(text: str) -> str:
    return text


@app.task(save_results=60, attempts=2, vis_timeout=30, retry_delay=0)
def fails(secret: str) -> None:
    raise ValueError("no way")


@app.task(save_results=60)
def says_no() -> None:
    raise dibs.Reject("not today")
