"""Exit codes, sentences, and what all of the operator's commands have in common; nothing is connected."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from typing import Any, Protocol

import pytest
import typer

from dibs import errors
from dibs.cli import command, exits
from dibs.cli.exits import Exit, Refused, code_of, facts_of, sentence_of
from dibs.cli.session import Session
from dibs.cli.table import TABLE
from dibs.rpc.connection import Connection
from dibs.rpc.status import CLASSES

OPERATE = {
    name: row for name, row in TABLE.items() if row.target.startswith("dibs.cli.") and name not in ("dev", "token")
}


def load(name: str) -> Any:
    module, _, attribute = OPERATE[name].target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Run(Protocol):
    """Runs a command; the value is exit code, standard output and standard error."""

    def __call__(self, program: Any, *args: str) -> tuple[int, str, str]: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command, or a function as one, in this process."""

    def run_it(program: Any, *args: str) -> tuple[int, str, str]:
        if inspect.isfunction(program):
            program = command.single(program)
        with pytest.raises(SystemExit) as ended:
            program(list(args), prog_name="dibs")
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run_it


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgument("x"), Exit.USAGE),
        (errors.PayloadError("x"), Exit.USAGE),
        (errors.NotFound("x"), Exit.NOT_FOUND),
        (errors.Unavailable("x"), Exit.UNAVAILABLE),
        (errors.DeadlineExceeded("x"), Exit.UNAVAILABLE),
        (errors.Unauthenticated("x"), Exit.NOT_ALLOWED),
        (errors.PermissionDenied("x"), Exit.NOT_ALLOWED),
        (errors.FailedPrecondition("x"), Exit.NO),
        (errors.LimitExceeded("x"), Exit.NO),
        (errors.BrokerError("x"), Exit.NO),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (FileNotFoundError(2, "No such file", "ca.pem"), Exit.USAGE),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), Exit.USAGE),
        (Refused("x"), Exit.USAGE),
        (Refused("x", Exit.NO), Exit.NO),
    ],
)
def test_each_error_has_its_code(error: BaseException, code: Exit) -> None:
    assert code_of(error) is code


def test_every_error_of_the_client_has_a_code() -> None:
    for cls in CLASSES.values():
        assert code_of(cls("x")) in Exit


def test_the_codes_are_in_the_text_of_their_module() -> None:
    assert exits.__doc__
    listed = [line.split()[0] for line in exits.__doc__.splitlines() if line[:1].isdigit()]
    assert listed == [str(int(code)) for code in Exit]


def test_a_broker_that_is_away_is_named_in_plain_words() -> None:
    error = errors.Unavailable("failed to connect to all addresses; last error: UNKNOWN: ipv4:1.2.3.4:1: refused")
    assert sentence_of(error, "1.2.3.4:1") == "no broker answers at 1.2.3.4:1 (refused)"
    from_broker = errors.Unavailable("Redis does not answer the broker", reason="REDIS_UNAVAILABLE")
    assert sentence_of(from_broker, "t") == "Redis does not answer the broker"
    assert sentence_of(errors.DeadlineExceeded("Deadline Exceeded"), "t") == "no answer from t in time"
    assert sentence_of(KeyboardInterrupt(), "t") == "interrupted"
    assert sentence_of(errors.Unauthenticated("no token"), "t") == "t does not allow this: no token"


def test_what_this_machine_refuses_is_a_sentence_too() -> None:
    assert sentence_of(FileNotFoundError(2, "No such file", "ca.pem"), "t") == "ca.pem: No such file"
    assert sentence_of(UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "x"), "t") == "'a\\udcff' is not text in UTF-8"


def test_facts_for_programs() -> None:
    error = errors.InvalidArgument("queue: is empty", reason="INVALID_FIELD", field="queue")
    assert facts_of(error, "t") == {
        "exit_code": 2,
        "code": "INVALID_ARGUMENT",
        "reason": "INVALID_FIELD",
        "field": "queue",
        "message": "queue: is empty",
    }


def raises_not_found(session: Session) -> None:
    """Fails."""
    raise errors.NotFound("queue 'x\x1b' is not known", reason="NOT_FOUND")


def test_an_error_is_one_sentence_on_standard_error(run: Run) -> None:
    assert run(raises_not_found) == (3, "", "dibs: queue 'x\\x1b' is not known\n")


def test_an_error_is_one_object_on_standard_error_for_programs(run: Run) -> None:
    code, out, err = run(raises_not_found, "--json")
    assert (code, out) == (3, "")
    assert json.loads(err)["error"]["reason"] == "NOT_FOUND"


def test_a_command_returns_its_exit_code(run: Run) -> None:
    def answers_no(session: Session) -> Exit:
        """Says no."""
        return Exit.NO

    def interrupted(session: Session) -> None:
        """Ctrl-C."""
        raise KeyboardInterrupt

    assert run(answers_no) == (1, "", "")
    assert run(interrupted) == (130, "", "dibs: interrupted\n")


def test_a_bug_is_not_dressed_up_as_a_sentence() -> None:
    def broken(session: Session) -> None:
        """A bug."""
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command.single(broken)([], prog_name="dibs")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--timeout", "soon"], "not a length of time"),
        (["--timeout", "0"], "timeout must be above 0"),
        (["--client-cert-file", "x.pem"], "go together"),
        (["--target", "queue.example.org:1", "--token", "s3cret"], "would travel"),
        (["--nonsense"], "No such option"),
    ],
)
def test_connection_options_that_cannot_be_are_usage_errors(run: Run, args: list[str], said: str) -> None:
    code, out, err = run(raises_not_found, *args)
    assert (code, out) == (2, "")
    assert said in " ".join(err.replace("│", " ").split())
    assert "s3cret" not in err


@pytest.mark.parametrize(
    ("name", "args"), [("pause", ["a\udcff"]), ("show", ["a\udcff"]), ("queues", ["--namespace", "\udcff"])]
)
def test_arguments_that_are_no_text_are_wrong_use(run: Run, name: str, args: list[str]) -> None:
    code, out, err = run(load(name), *args, "--target", "127.0.0.1:1")
    assert (code, out) == (Exit.USAGE, "")
    assert "is not text in UTF-8" in err


@pytest.mark.parametrize("name", OPERATE)
def test_every_command_has_the_shared_options_and_a_help(name: str) -> None:
    if name == "health":
        pytest.importorskip("grpc_health")
    found = load(name)
    if isinstance(found, typer.Typer):
        found = typer.main.get_command(found)
    commands = list(getattr(found, "commands", {"": found}).values())
    for one in commands:
        options = {option for parameter in one.params for option in parameter.opts}
        assert {"--json", "--target", "--namespace", "--token", "--timeout", "--ca-file"} <= options
        assert one.help


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("enqueue", ["t", "--args", "[1"], "--args"),
        ("enqueue", ["t", "--args", "{}"], "--args"),
        ("enqueue", ["t", "--kwargs", "[]"], "--kwargs"),
        ("enqueue", ["q", "--data", "nope"], "--data"),
        ("enqueue", ["q", "--data", "1", "--args", "[]"], "--args"),
        ("enqueue", ["t", "--attempts", "0"], "--attempts"),
        ("enqueue", ["t", "--delay", "later"], "--delay"),
        ("enqueue", ["t", "--delay", "4000d"], "--delay"),
        ("known", ["register", "t", "--attempts", "99999999999"], "--attempts"),
        ("priority", ["q", "high"], "NUMBER"),
        ("priority", ["q", "1", "--none"], "--none"),
        ("dead", ["redrive"], "--all"),
        ("dead", ["purge", "--all", "an-id"], "--all"),
        ("schedules", ["put", "t"], "--every"),
        ("schedules", ["put", "t", "--every", "1m", "--cron", "* * * * *"], "--every"),
        ("tasks", ["q", "--section", "lost"], "--section"),
        ("queues", ["--kind", "kind"], "--kind"),
        ("show", [], "ID"),
    ],
)
def test_wrong_use_names_the_option_and_connects_to_nothing(run: Run, name: str, args: list[str], said: str) -> None:
    code, out, err = run(load(name), *args, "--target", "127.0.0.1:1")
    assert (code, out) == (Exit.USAGE, "")
    assert said in err
    assert "Traceback" not in err


def test_a_group_lists_when_nothing_else_is_said(run: Run) -> None:
    called: list[str] = []

    def list_things(session: Session) -> None:
        """Lists."""
        called.append(f"list {session.as_json}")

    def make(session: Session) -> None:
        """Makes."""
        called.append("make")

    things = command.group("Things.", list=list_things, make=make)
    for args in ([], ["--json"], ["list"], ["make"]):
        assert run(things, *args) == (0, "", "")
    assert called == ["list False", "list True", "list False", "make"]
    assert "Things." in run(things, "--help")[1]


def test_nothing_is_asked_of_somebody_who_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(Connection.build("127.0.0.1:1"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    session.confirm("Really?", yes=False)


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("n", False), ("", False)])
def test_somebody_who_is_there_is_asked(monkeypatch: pytest.MonkeyPatch, answer: str, goes_on: bool) -> None:
    session = Session(Connection.build("127.0.0.1:1"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(session.err, "input", lambda *args, **kwargs: answer)
    if goes_on:
        session.confirm("Really?", yes=False)
    else:
        with pytest.raises(Refused) as caught:
            session.confirm("Really?", yes=False)
        assert caught.value.code is Exit.NO
    session.confirm("Really?", yes=True)
