"""docs/protocol.md, performed: its commands and programs, and its tables compared with broker and client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.message_factory import GetMessageClass

from dibs.broker.border.errors import TABLE
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
    assert len(programs) == 2
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
    assert told - {row.reason for row in TABLE.values()} == {"LOCK_HELD"}
