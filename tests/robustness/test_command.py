"""The command tells what there is; what CONTRIBUTING.md says to run exists."""

from __future__ import annotations

import shlex

import pytest

from ..support.imports import SOURCES
from .__main__ import main, parser
from .table import FAULTS

COMMANDS = [
    line.partition("-m tests.robustness")[2]
    for line in (SOURCES / "CONTRIBUTING.md").read_text().splitlines()
    if line.startswith("$ .venv/bin/python -m tests.robustness")
]


def test_the_list_has_every_fault_and_the_reason_for_each_that_may_cost_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--list"]) == 0
    told = capsys.readouterr().out
    for fault in FAULTS.values():
        assert f"{fault.name:20} {fault.summary}" in told
        assert fault.summary
        assert fault.expect.because in told


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_that_contributors_are_told_are_understood(command: str) -> None:
    assert parser().parse_args(shlex.split(command))


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--fault", "earthquake"])
