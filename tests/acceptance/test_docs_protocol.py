"""docs/protocol.md, performed: its commands and programs, and its tables compared with broker and client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.message_factory import GetMessageClass

from dibs.broker.border.errors import TABLE
from dibs.broker.config.limits import Limits
from dibs.broker.config.settings import Settings
from dibs.contract.heartbeats import DEFAULT, Rhythm
from dibs.rpc import repeating
from dibs.v1 import admin_pb2, broker_pb2, lock_pb2

from ..support.processes import running_broker

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()
SERVICES = (
    broker_pb2.DESCRIPTOR.services_by_name["BrokerService"],
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
    lock_pb2.DESCRIPTOR.services_by_name["LockService"],
)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table with that heading."""
    table = PAGE.partition(heading)[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_its_programs_run() -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == 3
    with running_broker() as broker:
        program = "\n".join(programs).replace("localhost:7411", broker.address)
        command = [sys.executable, "-c", program + "\nchannel.close()\n"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def test_its_command_compiles_the_contract(tmp_path: Path) -> None:
    (command,) = re.findall(r"```console\n\$ protoc (.*)\n```", PAGE)
    words = command.replace("-I proto", f"-I {ROOT / 'proto'}").split()
    # As the page has it, but for the program: not every machine has it.
    generator = ROOT / ".cache" / "gen-protos" / "bin" / "python"
    if not generator.exists():
        subprocess.run([ROOT / "scripts" / "gen_protos.sh", tmp_path / "stubs"], check=True, timeout=110)
    subprocess.run([generator, "-m", "grpc_tools.protoc", *words], cwd=tmp_path, check=True)
    assert (tmp_path / "dibs.binpb").stat().st_size > 0


def test_every_method_has_its_line_and_the_client_does_as_it_says() -> None:
    said = {name: told for cell, told in rows("| call | may be repeated |\n") for name in names(cell)}
    assert sorted(said) == sorted(method.name for service in SERVICES for method in service.methods)
    for service in SERVICES:
        for method in service.methods:
            empty = repeating.is_repeatable(method.name, GetMessageClass(method.input_type)())
            # These may be repeated under a condition that an empty request meets.
            allowed = said[method.name].startswith(("yes", "without"))
            assert empty is allowed, f"{method.name}: {said[method.name]}"


@pytest.mark.parametrize(
    ("code", "reason"), sorted({(row.code.name, row.reason) for row in TABLE.values()}), ids=lambda value: str(value)
)
def test_every_status_of_the_broker_has_its_line(code: str, reason: str) -> None:
    lines = rows("| status | reason | what to do |\n")
    assert [line for line in lines if code in names(line[0]) and reason in names(line[1])]


def test_no_line_tells_of_a_reason_that_there_is_not() -> None:
    told = {reason for line in rows("| status | reason | what to do |\n") for reason in names(line[1])}
    own = re.compile(r'PreconditionFailed\(\s*"([A-Z_]+)"')
    failed = {reason for file in (ROOT / "broker").rglob("*.py") for reason in own.findall(file.read_text())}
    assert told - {row.reason for row in TABLE.values()} == failed


@pytest.mark.parametrize("message", ["WorkHello", "WorkRequest", "WorkResponse", "EnqueueStreamResponse"])
def test_every_part_of_a_stream_is_told_of(message: str) -> None:
    fields = {field.name for field in broker_pb2.DESCRIPTOR.message_types_by_name[message].fields}
    assert fields - set(re.findall(r"\w+", PAGE)) == set()


def test_every_way_with_a_known_id_is_told_of() -> None:
    ways = broker_pb2.DESCRIPTOR.enum_types_by_name["OnConflict"].values_by_name
    told = set(re.findall(r"`([A-Z_]+)`", PAGE))
    assert {way.removeprefix("ON_CONFLICT_") for way in ways} - told == {"UNSPECIFIED"}


def test_its_numbers_of_a_whole_broker_are_the_settings() -> None:
    settings, limits = Settings(), Limits()
    told = {name: most for what, most, _ in rows("| what | at most | beyond it |\n") for name in names(what)[-1:]}
    assert told.pop("max_hello_bytes") == "1 MiB"
    assert limits.max_hello_bytes == 1024**2
    spans = {
        "hello_timeout": limits.hello_timeout,
        "max_connection_idle": settings.max_connection_idle,
    }
    numbers = {
        "max_waiting_queues": limits.max_waiting_queues,
        "max_pending_calls": settings.max_pending_calls,
        "max_concurrent_streams": settings.max_concurrent_streams,
        "max_connections": settings.max_connections,
    }
    assert told == {
        **{name: f"{span.total_seconds():g} s" for name, span in spans.items() if span is not None},
        **{name: f"{number:,}" for name, number in numbers.items()},
    }


def test_its_numbers_of_heartbeats_are_those_of_the_contract() -> None:
    (interval,) = re.findall(r"`Heartbeats.interval` \((\d+) s", PAGE)
    (timeout,) = re.findall(r"`Heartbeats.timeout` \((\d+) s", PAGE)
    assert Rhythm(float(interval), float(timeout)) == DEFAULT
    assert f"wait for it as for a heartbeat: {DEFAULT.timeout_s:g} s" in PAGE
