"""Files and folders that texts name are there, under that name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What belongs to the project, and not to its tools.
TOP = ("benchmarks", "broker", "clients", "deploy", "docs", "examples", "proto", "scripts", "tests", "worker")
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "proto/dibs/**/*.proto", "broker/engine/lua/**/*.lua", "deploy/**/*.*")
    for path in ROOT.glob(pattern)
)
CODE = sorted(
    path
    for folder in ("broker", "clients/python/dibs", "worker")
    for path in ROOT.glob(f"{folder}/**/*.py")
    if not path.stem.endswith(("_pb2", "_pb2_grpc"))
)
FILE = re.compile(r"(?<![\w./@-])((?:[\w-]+/)*[\w-]+\.(?:py|lua|proto|sh))\b")
FOLDER = re.compile(r"`((?:[\w-]+/)+)`")
#: Of users, whom texts tell what to write where.
USERS = {
    *("produce.py", "shop/tasks.py", "file.py", "tasks.py", "shop.py"),
    *("test_eager.py", "test_recorded.py", "test_real.py", "test_async.py", "without_pytest.py"),
}
#: Of gRPC and protobuf.
THEIRS = ("google/protobuf/", "grpc/reflection/")
#: Made while it runs.
MADE = {"dibs/worker/envelope.proto"}


@cache
def places() -> frozenset[str]:
    """Every file and folder as it may be named: the whole path, or its end."""
    found: set[str] = set()
    for path in ROOT.glob("*"):
        found.add(path.name)
    for top in TOP:
        for path in ROOT.glob(f"{top}/**/*"):
            parts = path.relative_to(ROOT).parts
            if parts[:3] == ("tests", "engine", "fixtures") and len(parts) > 4:
                continue  # of an earlier version
            # Python's names of rooms go by these links.
            for linked in (parts, ("dibs", *parts)):
                found |= {"/".join(linked[at:]) for at in range(len(linked))}
    return frozenset(found)


def missing(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    for name in pattern.findall(text):
        if name.rstrip("/") not in places() | USERS | MADE and not name.startswith(THEIRS):
            yield name


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_names_what_is_there(path: Path) -> None:
    text = path.read_text()
    assert [*missing(text, FILE), *missing(text, FOLDER)] == []


def test_code_names_what_is_there() -> None:
    wrong = {str(path.relative_to(ROOT)): [*missing(path.read_text(), FILE)] for path in CODE}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_what_is_not_there_is_found() -> None:
    text = "see `broker/requests.py`, `clients/python/dibs/admin_flows.py`, `lua/include/tokens.lua`, `broker/queues/`"
    assert [*missing(text, FILE), *missing(text, FOLDER)] == [
        "broker/requests.py",
        "clients/python/dibs/admin_flows.py",
        "lua/include/tokens.lua",
        "broker/queues/",
    ]
