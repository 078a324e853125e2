"""docs/admin.md, performed: every command of it from top to bottom, each with what the page says that it prints."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dibs import Admin
from dibs.cli.exits import CODES, Exit
from dibs.cli.program import load
from dibs.cli.table import TABLE
from dibs.v1 import admin_pb2, lock_pb2

from ..support import operating
from ..support.pages import commands, matches
from ..support.processes import GRPCURL, Broker, running_broker

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "admin.md").read_text()


@dataclass(frozen=True)
class Step:
    """A command of the page, what it prints, and its exit code."""

    command: str
    output: str
    code: int


def read(page: str) -> list[Step]:
    """The commands of its console blocks; `echo $?` tells of the one before."""
    steps: list[Step] = []
    for command, output in commands(page):
        if command == "echo $?":
            last = steps.pop()
            steps.append(Step(last.command, last.output, int(output)))
        else:
            steps.append(Step(command, output, 0))
    return steps


STEPS = read(PAGE)
#: For a machine that is busy with something else.
PATIENTLY = ("--timeout", "60s")


@pytest.fixture(scope="module")
def broker(redis_programs: dict[int, str]) -> Iterator[Broker]:
    with operating.newest_broker(redis_programs) as started:
        yield started


def test_every_line_of_the_page_does_what_it_says(broker: Broker) -> None:
    wrong = []
    for step in STEPS:
        words = shlex.split(step.command.replace("localhost:7411", broker.address))
        if words[0] == "dibs":
            said = operating.dibs(broker.address, *words[1:], *PATIENTLY, width=160)
            code, printed = said.code, said.err + said.out
        else:
            assert words[0] == "grpcurl"
            done = subprocess.run([GRPCURL, *words[1:]], capture_output=True, text=True, timeout=60)
            code, printed = done.returncode, done.stderr + done.stdout
        if code != step.code or not matches(step.output, printed):
            wrong.append(f"$ {step.command}\n{step.output}--- is {step.code}, printed and ended with {code}\n{printed}")
    assert wrong == [], "\n".join(wrong)


def test_the_programs_of_the_page_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    with running_broker() as broker:
        for block in blocks:
            exec(compile(block.replace("127.0.0.1:7411", broker.address), "docs/admin.md", "exec"), names)


def test_the_page_has_every_method() -> None:
    _, _, table = PAGE.rpartition("| command | method |")
    listed = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|.*\|(.*)\|$", table, re.MULTILINE))))
    assert listed == {name for name in vars(Admin) if not name.startswith("_")}


def test_the_page_has_every_rpc_and_every_command() -> None:
    called = {word for step in STEPS for word in step.command.split() if word.startswith("dibs.v1.")}
    services = [
        admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
        lock_pb2.DESCRIPTOR.services_by_name["LockService"],
    ]
    assert {
        f"{service.full_name}/{method.name}" for service in services for method in service.methods
    } - called == set()
    used = {step.command.split()[1] for step in STEPS if step.command.startswith("dibs ")}
    assert {name for name, row in TABLE.items() if row.panel != "Run"} - used == set()


def asking(command: Any, name: str) -> Iterator[str]:
    """The commands, this one or those below it, that ask first unless told `--yes`."""
    for below, one in getattr(command, "commands", {}).items():
        yield from asking(one, f"{name} {below}")
    if any(parameter.name == "yes" for parameter in command.params):
        yield name


def test_the_page_has_every_command_that_asks_first() -> None:
    said = re.search(r"^(`clear`, [^.]*) ask first", PAGE, re.MULTILINE)
    assert said is not None
    listed = {name.removesuffix(" --all") for name in re.findall(r"`([^`]+)`", said[1])}
    rows = [(name, row) for name, row in TABLE.items() if row.panel != "Run"]
    assert listed == {found for name, row in rows for found in asking(load(name, row), name)}


def test_the_page_has_every_exit_code() -> None:
    listed = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert listed == [int(code) for code in Exit]
    assert set(CODES.values()) <= set(Exit)


def test_outputs_are_compared() -> None:
    assert matches("a … c\n", "a  b\nc\n")
    assert matches("…\n{\n…\n}\n", '{\n"x": 1\n}\n')
    assert not matches("a\n", "b\n")
    assert not matches("a … c\n", "a b\n")
    assert not matches("", "something")
