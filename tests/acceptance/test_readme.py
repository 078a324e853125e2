"""The README, performed: every code block in it, from top to bottom, as somebody would who reads it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
#: Language, code, and the text before it, which may name the file that it is.
BLOCKS = re.findall(r"([^\n]*)\n\n```(\w*)\n(.*?)```", README, re.DOTALL)
FILE = re.compile(r"This is `(\w+\.py)`:")

#: What a reader runs in the checkout, before going to a folder of their own.
IN_ANOTHER_TERMINAL = "dibs dev tasks"
IN_CHECKOUT = ("scripts/setup.sh", ". .venv/bin/activate")


class Shell:
    """Runs the commands of console blocks in one folder; the one for another terminal in the background."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.background: list[subprocess.Popen[bytes]] = []
        self.port = port
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "clients" / "python"),
            # A reader's port is free; here others may run.
            "DIBS_TARGET": f"127.0.0.1:{port}",
            "DIBS_LISTEN": f"127.0.0.1:{port}",
            "COLUMNS": "120",
            "NO_COLOR": "1",
        }

    def run(self, command: str) -> str:
        """What the command prints."""
        if command == IN_ANOTHER_TERMINAL:
            log = (self.folder / "background.log").open("ab")
            process = subprocess.Popen(command.split(), cwd=self.folder, env=self.env, stdout=log, stderr=log)
            log.close()
            self.background.append(process)
            return ""
        command = command.replace("localhost:7411", f"localhost:{self.port}")
        folder = ROOT if command in IN_CHECKOUT else self.folder
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=self.env, capture_output=True, text=True, timeout=60
        )
        background = self.folder / "background.log"
        assert done.returncode == 0, done.stdout + done.stderr + (background.read_text() if background.exists() else "")
        return done.stdout

    def press_ctrl_c(self) -> None:
        """In the other terminal."""
        process = self.background.pop()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, (self.folder / "background.log").read_text()

    def close(self) -> None:
        """Ends what still runs."""
        for process in self.background:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path, free_port())
    yield shell
    shell.close()


def test_the_tour_runs_and_prints_what_it_says(shell: Shell) -> None:
    # The first block is the two commands: one has a test below, the other runs this test.
    for before, language, code in BLOCKS[1:]:
        if language == "python":
            name = FILE.search(before)
            assert name, f"this block has no file name before it: {code}"
            (shell.folder / name[1]).write_text(code)
            continue
        assert language == "console", f"blocks are python or console, not {language}"
        for command, output in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", code, re.MULTILINE):
            found = shell.run(command)
            assert matches(output, found), f"{command}\nprinted\n{found}\ninstead of\n{output}"
    shell.press_ctrl_c()


def matches(shown: str, found: str) -> bool:
    """Whether the output is what is shown; `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, found, re.DOTALL) is not None


def test_the_two_commands_at_the_top_are_there() -> None:
    top = BLOCKS[0][2]
    commands = re.findall(r"^\$ (\S+)", top, re.MULTILINE)
    assert commands == ["scripts/demo.sh", "scripts/test.sh"]
    assert all(os.access(ROOT / command, os.X_OK) for command in commands)


def test_the_demo_runs_to_its_end_and_shows_dead_letters(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 dead letters" in done.stdout
    assert list(tmp_path.iterdir()) == []
