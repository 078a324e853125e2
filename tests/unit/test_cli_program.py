"""The group of subcommands: listed without importing them, and what is said when an extra is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from types import ModuleType

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from dibs.cli.program import load, program
from dibs.cli.table import TABLE, Row

#: What takes long to import and is not needed to list the subcommands.
HEAVY = ("grpc", "google.protobuf", "redis", "pydantic", "croniter", "asyncio", "dibs.client.dibs", "dibs.broker")


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def without(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`dibs WORDS...` where that module is not installed."""
    code = "import sys; sys.modules[sys.argv.pop(1)] = None; from dibs.cli import main; main()"
    return python(code, module, *words)


@pytest.mark.parametrize(
    ("module", "words", "sentence"),
    [
        ("redis", ("broker", "--help"), "dibs broker: redis is not installed: pip install 'dibs[broker]'"),
        (
            "pydantic_settings",
            ("broker",),
            "dibs broker: pydantic_settings is not installed: pip install 'dibs[broker]'",
        ),
        ("grpc_health", ("health",), "dibs health: grpc_health is not installed: pip install 'dibs[cli]'"),
        ("typer", ("queues",), "dibs: the command needs more than the client: pip install 'dibs[cli]'"),
    ],
)
def test_a_missing_extra_is_one_sentence_that_says_what_to_install(
    module: str, words: tuple[str, ...], sentence: str
) -> None:
    done = without(module, *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence + "\n")


def test_each_row_names_the_extra_of_what_it_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "absent", None)
    monkeypatch.setitem(sys.modules, "dibs.cli.absent", None)
    for name, row in TABLE.items():
        with pytest.raises(typer.Exit) as ended:
            load(name, row._replace(target="absent.inside:command"))
        assert ended.value.exit_code == 1
        said = capsys.readouterr()
        assert said.err == f"dibs {name}: absent is not installed: pip install 'dibs[{row.extra}]'\n"
    with pytest.raises(ModuleNotFoundError):
        load("ours", Row("dibs.cli.absent:command", "A module of our own that is not there is no missing extra."))


def test_every_row_leads_to_a_command() -> None:
    for name, row in TABLE.items():
        assert isinstance(load(name, row), TyperCommand | TyperGroup), name


def test_a_row_may_name_an_app_or_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("made_up")
    app = module.app = typer.Typer()  # type: ignore[attr-defined]
    app.command()(lambda: None)
    command = module.command = typer.main.get_command(app)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up", module)
    assert isinstance(load("one", Row("made_up:app", "")), TyperCommand)
    assert load("two", Row("made_up:command", "")) is command


def test_the_list_is_quick_and_tells_of_every_subcommand() -> None:
    code = f"""
import sys
from dibs.cli import main
try:
    main()
except SystemExit as ended:
    print(ended.code, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = python(code, "--help")
    assert done.stderr == "0 []\n"
    for name in TABLE:
        assert f" {name} " in done.stdout
    assert python(code, "-h").stdout == done.stdout


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program(["--version"], prog_name="dibs")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"dibs {version('dibs')}\n"


def test_a_subcommand_that_nobody_knows_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program(["quues"], prog_name="dibs")
    assert ended.value.code == 2
    assert "No such command 'quues'" in capsys.readouterr().err
