"""docs/middleware.md, performed from top to bottom, in a process of its own: it uses the default instance."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ..support.imports import SOURCES
from ..support.processes import environment

PAGE = (SOURCES / "docs" / "middleware.md").read_text()


def test_the_page_tells_the_truth(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks) + "\nprint('to the end')\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        env=environment({"PYTHONPATH": str(SOURCES / "clients/python")}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "to the end\n"), done.stderr


def test_type_checkers_accept_its_classes(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
        env=environment({"PYTHONPATH": str(SOURCES / "clients/python")}),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
