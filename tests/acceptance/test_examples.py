"""The examples run, and come to what they say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ..support.imports import SOURCES
from ..support.processes import environment


@pytest.mark.parametrize(
    ("example", "lines"),
    [
        ("aggregate", ["2,000  visits, each counted once"]),
        (
            "pipeline",
            [
                "200 records priced",
                "100 dead letters after 2 attempts each: KeyError('plum')",
                "100 sent back, 100 records priced",
                "left over: 0 queues",
            ],
        ),
    ],
)
def test_an_example_runs(example: str, lines: list[str]) -> None:
    command = [sys.executable, "-m", f"examples.{example}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=SOURCES, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in done.stdout.splitlines()][-len(lines) :] == lines, done.stderr
