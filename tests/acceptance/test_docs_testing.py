"""docs/testing.md, performed: its files as they stand, by pytest in a process of its own and by Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ..support.imports import SOURCES
from ..support.processes import environment

PAGE = (SOURCES / "docs" / "testing.md").read_text()
CONFIGURATION = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment({"PYTHONPATH": f"{SOURCES / 'clients/python'}:{folder}", "CI": "1"}),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_files(folder: Path) -> list[str]:
    """Each block is a file, whose name is its first line."""
    names = []
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        name = block.splitlines()[0].removeprefix("# ")
        (folder / name).write_text(block)
        names.append(name)
    return names


def test_the_page_tells_the_truth(tmp_path: Path) -> None:
    names = write_files(tmp_path)
    assert len(names) == 7
    (tmp_path / "pytest.ini").write_text(CONFIGURATION)
    # Where dibs is installed anew its entry point loads the plugin; here it may stand elsewhere.
    plugin = "-pdibs.testing.plugin"
    output = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", plugin, "-p", "no:dibs")
    assert " 10 passed" in output.splitlines()[-1] or "10 passed" in output, output
    run(tmp_path, "without_pytest.py")


def test_type_checkers_see_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_typed.py").write_text(
        "import dibs\n"
        "from dibs.testing import Eager, OnBroker, Recorded, WithWorker, call\n\n\n"
        "def test_all(\n"
        "    dibs_eager: Eager, dibs_recorded: Recorded, dibs_broker: OnBroker, dibs_worker: WithWorker\n"
        ") -> None:\n"
        "    reveal_type(dibs_eager.calls)\n"
        "    reveal_type(dibs_recorded.run_all())\n"
        "    reveal_type(dibs_worker.run_until_idle())\n"
        "    reveal_type(call('a.b', 1))\n"
    )
    output = run(tmp_path, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "test_typed.py")
    told = re.findall(r'Revealed type is "(.*)"', output)
    assert [one.replace("builtins.", "") for one in told] == [
        "list[dibs.testing.recording.Call]",
        "int",
        "None",
        "dibs.testing.recording.Call",
    ]


def test_the_plugin_is_found_where_dibs_is_installed() -> None:
    assert '[project.entry-points.pytest11]\ndibs = "dibs.testing.plugin"\n' in (SOURCES / "pyproject.toml").read_text()


def test_the_plugin_loads_nothing_before_it_is_used(tmp_path: Path) -> None:
    output = run(tmp_path, "-c", "import dibs.testing.plugin, sys; print(*sys.modules)")
    assert {"grpc", "google.protobuf", "dibs.worker", "dibs.broker"} & set(output.split()) == set()
