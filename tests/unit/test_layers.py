"""Layers point one way: who may import whom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.imports import SOURCES, Import, import_cycle, imports_of, modules

MODULES = modules()
IMPORTS = [found for module, path in MODULES.items() for found in imports_of(module, path)]

#: Imports that the table of layers allows, inside of functions only: the one command mounts what is installed, and the
#: kits for tests run tasks with what workers run them with.
LAZY = {
    "dibs.cli": ("dibs.broker", "dibs.worker"),
    "dibs.testing.bench": ("dibs.worker",),
    "dibs.testing.brokered": ("dibs.worker",),
    "dibs.testing.in_memory": ("dibs.worker",),
    "dibs.testing.working": ("dibs.worker",),
}


def imports_by(layer: str) -> list[Import]:
    return [found for found in IMPORTS if layer_of(found.importer) == layer]


def layer_of(module: str) -> str:
    for prefix in ("dibs.broker.engine", "dibs.broker", "dibs.worker"):
        if module == prefix or module.startswith(prefix + "."):
            return prefix
    return "dibs"


def test_the_sources_are_found() -> None:
    assert {layer_of(module) for module in MODULES} == {"dibs", "dibs.broker", "dibs.broker.engine", "dibs.worker"}


def test_the_client_imports_neither_broker_nor_worker_nor_redis() -> None:
    assert [
        str(found)
        for found in imports_by("dibs")
        if found.within("dibs.broker", "dibs.worker", "redis", "hiredis")
        and not (found.lazy and found.within(*LAZY.get(found.importer, ())))
    ] == []


def test_the_worker_imports_neither_broker_nor_redis() -> None:
    assert [str(found) for found in imports_by("dibs.worker") if found.within("dibs.broker", "redis", "hiredis")] == []


def test_a_connector_runs_none_of_the_users_code_and_a_task_process_has_no_stream() -> None:
    connector, process = "dibs.worker.connector", "dibs.worker.process"
    assert [
        str(found)
        for found in imports_by("dibs.worker")
        if (
            found.importer.startswith(connector + ".")
            and found.within(process, "dibs.tasks.registry", "dibs.worker.runtime")
        )
        or (found.importer.startswith(process + ".") and found.within(connector, "grpc", "dibs.worker.runtime"))
    ] == []


def test_the_broker_imports_of_the_client_the_stubs_and_what_both_need() -> None:
    assert [
        str(found)
        for found in imports_by("dibs.broker")
        if found.within("dibs") and not found.within("dibs.broker", "dibs.v1", "dibs.contract")
    ] == []


def test_what_client_worker_and_broker_share_depends_on_nothing_of_the_package() -> None:
    assert [
        str(found)
        for found in IMPORTS
        if found.importer.startswith("dibs.contract.") and found.within("dibs") and not found.within("dibs.contract")
    ] == []


def test_the_engine_knows_nothing_of_the_wire_nor_of_the_rest_of_the_broker() -> None:
    assert [
        str(found)
        for found in imports_by("dibs.broker.engine")
        if found.within("grpc", "google", "dibs") and not found.within("dibs.broker.engine", "dibs.contract")
    ] == []


def test_packages_are_imported_by_their_own_names() -> None:
    assert [str(found) for found in IMPORTS if found.within("broker", "worker")] == []


def test_nothing_is_imported_in_a_circle_not_even_late_or_for_type_checkers() -> None:
    edges: dict[str, set[str]] = {}
    for found in IMPORTS:
        if found.within("dibs.v1"):
            continue  # generated, and not among the sources
        target = found.target
        while target not in MODULES and "." in target:
            target = target.rpartition(".")[0]
        if target in MODULES and target != found.importer:
            edges.setdefault(found.importer, set()).add(target)
    assert import_cycle(edges) == []


#: Rooms in the order of the tables in docs/architecture.md: each may use those before it.
ROOMS = {
    "dibs": (
        "contract",
        "errors",
        "codecs",
        "rpc",
        "enqueueing",
        "tasks",
        "admin",
        "data",
        "client",
        "middleware",
        "contrib",
        "testing",
        "cli",
    ),
    "dibs.broker": (
        "engine",
        "config",
        "border",
        "messages",
        "leasing",
        "upkeep",
        "metrics",
        "calls",
        "services",
        "server",
        "cli",
    ),
    "dibs.worker": ("shared", "connector", "process", "runtime", "run", "cli"),
}


def room_of(module: str, package: str) -> str:
    """The room of a module of the package; "" if it is of none."""
    inside = module.removeprefix(f"{package}.") if module.startswith(f"{package}.") else ""
    return inside.split(".")[0]


@pytest.mark.parametrize("package", ROOMS)
def test_every_module_has_a_room(package: str) -> None:
    of_others = ("broker", "worker") if package == "dibs" else ()
    rooms = {room_of(module, package) for module in MODULES} - {"", "__main__", *of_others}
    assert rooms == set(ROOMS[package])


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_uses_those_above_it_only(package: str) -> None:
    rooms = ROOMS[package]
    assert [
        str(found)
        for found in IMPORTS
        if (importer := room_of(found.importer, package)) in rooms
        and (target := room_of(found.target, package)) in rooms
        and rooms.index(target) > rooms.index(importer)
    ] == []


def test_the_rooms_are_those_of_the_guide() -> None:
    guide = (SOURCES / "docs/architecture.md").read_text()
    for package, rooms in ROOMS.items():
        start = guide.index(f"| of the {package.rpartition('.')[2].replace('dibs', 'client')} |")
        rows = guide[start : guide.index("\n\n", start)].splitlines()[2:]
        told = [row.split("`")[1].rstrip("/").removesuffix(".py") for row in rows]
        assert told == [room for room in rooms if package != "dibs.broker" or room not in ("server", "cli")]


def test_a_circle_would_be_found() -> None:
    assert import_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert import_cycle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_relative_and_late_imports_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        "import a.b\nfrom . import c\nfrom ..d import e\ndef f():\n    import g\nif TYPE_CHECKING:\n    import h\n"
    )
    found = imports_of("top.pack.m", path)
    assert [(one.target, one.lazy) for one in found] == [
        ("a.b", False),
        ("top.pack.c", False),
        ("top.d.e", False),
        ("g", True),
        ("h", True),
    ]


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [
        ("dibs", ("dibs.broker", "dibs.worker", "redis", "typer")),
        ("dibs.worker", ("dibs.broker", "redis")),
        ("dibs.broker.engine.engine", ("grpc", "google.protobuf", "dibs.v1")),
    ],
)
def test_importing_a_package_loads_nothing_of_the_others(package: str, unwanted: tuple[str, ...]) -> None:
    program = f"import {package}, sys; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES / "clients/python")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, env=environment)
    assert set(done.stdout.split()) & set(unwanted) == set()
