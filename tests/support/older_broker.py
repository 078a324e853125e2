"""A broker of version 0.1, run from the history of this repository."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from .imports import SOURCES
from .processes import Broker, running_broker

#: The commit whose scripts are in `tests/engine/fixtures/scripts-0.1`.
COMMIT = "58a6e35"


@contextmanager
def running_older_broker(folder: Path, *options: str) -> Iterator[Broker]:
    """A broker of 0.1 that listens; the test is skipped in a clone without the commit.

    Args:
        folder: takes the sources.
        options: of the broker.
    """
    archive = subprocess.run(
        ["git", "archive", COMMIT, "broker", "clients/python", "worker"], cwd=SOURCES, capture_output=True, check=False
    )
    if archive.returncode != 0:
        pytest.skip(f"this clone has no commit {COMMIT}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as sources:
        sources.extractall(folder, filter="data")
    with running_broker(*options, env={"PYTHONPATH": str(folder / "clients" / "python")}) as broker:
        yield broker
