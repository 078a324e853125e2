"""Tasks of the acceptance tests: they write what they do into a journal, and wait for the test when they hold."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dibs


def folder() -> Path:
    return Path(os.environ["JOBS_FOLDER"])


def note(text: str) -> None:
    """One line, whole whoever else writes."""
    with (folder() / "journal").open("ab", buffering=0) as journal:
        journal.write(f"{text} {os.getpid()}\n".encode())


@dibs.task(name="quick")
def quick(label: str) -> int:
    note(f"quick {label}")
    return os.getpid()


@dibs.task(name="hold")
def hold(label: str) -> int:
    """Ends when the test makes a file of that name."""
    note(f"begun {label}")
    while not (folder() / label).exists() and not (folder() / f"{label}-{os.getpid()}").exists():
        time.sleep(0.005)
    return os.getpid()


@dibs.task(name="die")
def die() -> None:
    note("die")
    os._exit(7)
