"""What calls of tasks become."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import dibs
from dibs import DEFAULT_QUEUE, Backoff, DibsError, PayloadError, Task, UnknownTask
from dibs.rpc.codec import decode_call
from dibs.rpc.connection import Connection
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.imports import SOURCES
from ..support.recording import RecordingDibs


@pytest.fixture
def app() -> RecordingDibs:
    return RecordingDibs()


def arguments(item: pb.EnqueueItem) -> tuple[list[Any], dict[str, Any]]:
    return decode_call(item.content.payload)


def test_a_task_is_still_the_function(app: RecordingDibs) -> None:
    @app.task(name="add")
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert add(1) == 2
    assert add.__doc__ == "Adds."
    assert app.items == []


def test_a_call_names_task_queue_kind_and_arguments(app: RecordingDibs) -> None:
    @app.task(queue=b"sums", name="add")
    def add(a: int, b: int = 1) -> int:
        return a + b

    handle = add.execute(1, b=2)

    item = app.last
    assert item.queue == handle.queue == "sums"
    assert item.kind == tpb.QUEUE_KIND_TASK
    assert item.content.task_name == handle.name == "add"
    assert arguments(item) == ([1], {"b": 2})
    assert item.policy == tpb.DeliveryPolicy(attempts=1)
    assert item.on_conflict == pb.ON_CONFLICT_UNSPECIFIED


def test_a_task_that_names_no_queue_goes_to_the_default_one(app: RecordingDibs) -> None:
    assert app.task(name="t")(lambda: None).queue == DEFAULT_QUEUE


def test_a_call_may_override_delay_id_queue_and_attempts(app: RecordingDibs) -> None:
    @app.task(name="add")
    def add(a: int) -> None: ...

    handle = add.execute(1, delay=timedelta(seconds=2), taskid="mine", _queue=b"other", _attempts=7)

    item = app.last
    assert (item.id, item.queue, item.delay.seconds, item.policy.attempts) == ("mine", "other", 2, 7)
    assert (handle.taskid, handle.queue) == ("mine", "other")
    assert arguments(item) == ([1], {})


def test_options_do_the_same_and_leave_the_task_alone(app: RecordingDibs) -> None:
    @app.task(name="add")
    def add(a: int) -> None: ...

    at = datetime(2030, 1, 1, tzinfo=UTC)
    add.options(at=at, taskid="mine", queue="other", attempts=7, on_conflict="replace", headers={"a": "b"}).execute(1)
    item = app.last
    assert item.schedule_time.ToDatetime(UTC) == at
    assert (item.id, item.queue, item.policy.attempts) == ("mine", "other", 7)
    assert item.on_conflict == pb.ON_CONFLICT_REPLACE
    assert item.content.headers["a"] == "b"

    add.execute(1)
    assert (app.last.id, app.last.queue) == ("new", "default")


def test_keywords_of_a_call_go_before_options(app: RecordingDibs) -> None:
    @app.task(name="add")
    def add(a: int) -> None: ...

    add.options(at=datetime(2030, 1, 1, tzinfo=UTC), queue="other").execute(1, delay=3)

    assert app.last.delay.seconds == 3
    assert app.last.queue == "other"


@pytest.mark.parametrize("delay", [-1, -0.5, timedelta(seconds=-1), 0])
def test_a_negative_delay_is_none(app: RecordingDibs, delay: Any) -> None:
    app.task(name="t")(lambda: None).execute(delay=delay)

    assert not app.last.HasField("delay")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"delay": float("-inf")}, "delay"),
        ({"delay": "soon"}, "delay"),
        ({"at": datetime(2030, 1, 1)}, "at"),
        ({"attempts": 0}, "attempts"),
        ({"on_conflict": "shrug"}, "on_conflict"),
        ({"delay": 1, "at": datetime(2030, 1, 1, tzinfo=UTC)}, "delay and at"),
    ],
)
def test_options_that_make_no_sense_are_refused(app: RecordingDibs, options: dict[str, Any], named: str) -> None:
    task = app.task(name="t")(lambda: None)
    with pytest.raises(ValueError, match=named):
        task.options(**options)


def test_an_option_that_the_function_has_a_parameter_for_is_the_functions(app: RecordingDibs) -> None:
    @app.task(name="remind")
    def remind(delay: int, **more: Any) -> None: ...

    remind.execute(delay=5, taskid="mine")

    assert arguments(app.last) == ([], {"delay": 5})
    assert app.last.id == "mine"
    assert not app.last.HasField("delay")


def test_a_call_may_run_here_and_now(app: RecordingDibs) -> None:
    @app.task(name="add")
    def add(a: int) -> int:
        return a + 1

    assert add.execute(1, execute_inline_now=True, delay=5) == 2
    assert app.items == []
    add.execute(1, execute_inline_now=False)
    assert arguments(app.last) == ([1], {})


def test_arguments_that_are_not_json_are_refused_before_anything_is_sent(app: RecordingDibs) -> None:
    task: Task[..., None] = app.task(name="t")(lambda *_: None)
    with pytest.raises(PayloadError, match="JSON"):
        task.execute({1, 2})
    assert app.items == []


def test_a_task_may_be_enqueued_through_another_instance(app: RecordingDibs) -> None:
    @app.task(queue="sums", name="add")
    def add(a: int) -> int:
        return a

    other = RecordingDibs()
    add.on(other).execute(1)

    assert app.items == []
    assert other.last.queue == "sums"


def test_a_task_is_called_by_name_with_its_own_settings(app: RecordingDibs) -> None:
    @app.task(queue="sums", name="add", attempts=3)
    def add(a: int) -> int:
        return a

    handle = app.call_task("add", "elsewhere", 1)

    assert (app.last.queue, app.last.policy.attempts, handle.name) == ("sums", 3, "add")


def test_a_task_whose_code_is_not_here_is_called_by_name(app: RecordingDibs) -> None:
    app.call_task("far.away", None, 1, key=2, delay=3)

    assert (app.last.queue, app.last.content.task_name, app.last.delay.seconds) == ("default", "far.away", 3)
    assert arguments(app.last) == ([1], {"key": 2})
    app.call_task("far.away", b"there")
    assert app.last.queue == "there"


def test_a_call_by_name_can_be_verified(app: RecordingDibs) -> None:
    for kind in (UnknownTask, ValueError, KeyError):
        with pytest.raises(kind, match=r"far\.away"):
            app.call_task("far.away", None, _verify_call=True)


def test_tasks_are_found_by_name(app: RecordingDibs) -> None:
    task = app.task(name="b")(lambda: None)
    app.task(name="a")(lambda: None)

    assert app.known_tasks() == ["a", "b"]
    assert app.get_task("b") is task
    with pytest.raises(UnknownTask, match="imported"):
        app.get_task("c")


def test_a_recurring_task_must_do_without_arguments(app: RecordingDibs) -> None:
    def needs(thing: int, other: int = 1) -> None: ...

    with pytest.raises(TypeError, match="needs 'thing'"):
        app.periodic_task(60, name="needs")(needs)
    with pytest.raises(TypeError, match="needs 'thing'"):
        app.cron_task("* * * * *", name="needs")(needs)

    @app.periodic_task(60, name="does_not")
    def does_not(_attempts: int, *args: int, other: int = 1, **kwargs: int) -> None: ...


@dibs.task
def of_this_module() -> None: ...


def test_a_task_is_pickled_by_its_name(app: RecordingDibs) -> None:
    assert pickle.loads(pickle.dumps(of_this_module)) is of_this_module
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(app.task(name="nameless")(lambda: None))


def test_two_functions_cannot_have_one_name(app: RecordingDibs) -> None:
    def one() -> None: ...

    def two() -> None: ...

    app.task(name="same")(one)
    app.task(name="same")(one)
    with pytest.raises(ValueError, match="another task"):
        app.task(name="same")(two)


@pytest.mark.parametrize("name", ["", "x" * 257, "two\nlines"])
def test_a_name_that_makes_no_sense_is_refused(app: RecordingDibs, name: str) -> None:
    with pytest.raises(ValueError, match="1-256 printable"):
        app.task(name=name)(lambda: None)


def test_a_worker_finds_what_it_needs(app: RecordingDibs) -> None:
    @app.task(name="fetch")
    async def fetch(url: str) -> str:
        return url

    @app.task(name="plain")
    def plain() -> None: ...

    task = app.registry.find(fetch.name)
    assert task is not None
    assert task.is_async
    assert asyncio.run(task.function("x")) == "x"
    assert asyncio.run(fetch("x")) == "x"
    assert not plain.is_async
    assert fetch.name == "fetch"
    assert of_this_module.name == f"{__name__}.of_this_module"


def test_backoff_is_an_argument(app: RecordingDibs) -> None:
    task = app.task(attempts=2, backoff=Backoff(initial=2), name="t")(lambda: None)

    task.execute()
    assert app.last.policy.retry.initial_delay.seconds == 2


def test_a_worker_that_is_not_installed_is_named(app: RecordingDibs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dibs.worker.run", None)
    with pytest.raises(DibsError, match=r"dibs\[worker\]"):
        app.execute_tasks()


def test_the_environment_says_where_the_broker_is_when_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    app = dibs.Dibs()

    @app.task(name="add")
    def add() -> None: ...

    monkeypatch.setenv("DIBS_TARGET", "queue.example.org:7411")
    monkeypatch.setenv("DIBS_NAMESPACE", "billing")
    assert app.connection == Connection(target="queue.example.org:7411", namespace="billing")
    app.connect("other.example.org:1")
    assert app.connection == Connection(target="other.example.org:1", namespace="billing")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"timeout": 0}, "timeout"),
        ({"cert": "x.pem"}, "go together"),
        ({"target": "queue.example.org:1", "token": "secret"}, "unencrypted"),
    ],
)
def test_a_connection_that_makes_no_sense_is_refused_at_once(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        dibs.Dibs(**arguments)


def test_the_names_of_the_package_are_those_of_the_default_instance() -> None:
    assert dibs.task.__self__ is dibs.default()  # type: ignore[attr-defined]
    assert set(dibs.__all__) == set(dibs._HOME)
    for name in dibs.__all__:
        assert getattr(dibs, name) is not None
    assert set(dibs.__all__) <= set(dir(dibs))
    with pytest.raises(AttributeError, match="nonsense"):
        dibs.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_no_module_of_the_package_hides_a_name_of_it() -> None:
    folder = Path(dibs.__path__[0])
    modules = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}

    assert modules & set(dibs.__all__) == set()


def run_python(program: str, **environment: str) -> str:
    own = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    full = {**own, "PYTHONPATH": str(SOURCES / "clients/python"), **environment}
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=full).stdout


def test_importing_the_package_is_light() -> None:
    loaded = set(run_python("import dibs, sys; print(*sys.modules)").split())
    assert not loaded & {"grpc", "google.protobuf", "typer", "rich", "croniter"}


def test_a_program_with_a_task_does_without_croniter_and_the_command_line() -> None:
    loaded = run_python("import dibs, sys\n@dibs.task\ndef f(): ...\nprint(*sys.modules)").split()
    assert not set(loaded) & {"typer", "rich", "croniter", "msgspec", "pydantic"}


def test_grpcs_own_fork_support_is_off_unless_the_user_says_otherwise() -> None:
    program = "import dibs, os; print(os.environ.get('GRPC_ENABLE_FORK_SUPPORT'))"
    assert run_python(program).strip() == "0"
    assert run_python(program, GRPC_ENABLE_FORK_SUPPORT="1").strip() == "1"
    # It has been read by then.
    assert run_python(f"import grpc; {program}").strip() == "None"
