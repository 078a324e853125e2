"""Mistakes of programs that use the client are told where they are made, with what to write."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast
from uuid import UUID

import pytest

import dibs
from dibs import PayloadError, UnknownTask
from dibs.rpc.codec import decode_call

from ..support.recording import RecordingDibs


@pytest.fixture
def app() -> RecordingDibs:
    return RecordingDibs()


class Account:
    """Has methods."""

    def charge(self, cents: int) -> None: ...

    @classmethod
    def audit(cls, day: str) -> None: ...

    @staticmethod
    def greet(name: str) -> str:
        return name


def send(address: str, text: str = "", *, copy: bool = False) -> None: ...


def numbers() -> Iterator[int]:
    yield 1


async def async_numbers() -> AsyncIterator[int]:
    yield 1


def careless(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def careful(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


# What no task can be made of


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (Account.charge, "is a method, and a worker has no object"),
        (vars(Account)["charge"], "is a method, and a worker has no object"),
        (vars(Account)["audit"], "not of a classmethod"),
        (Account, "not of the class Account"),
        ("send", "not of a str"),
        (numbers, "is a generator: a task returns its result, such as a list"),
        (async_numbers, "is a generator"),
    ],
)
def test_what_a_worker_could_not_call_is_refused_at_the_decorator(app: RecordingDibs, function: Any, told: str) -> None:
    for decorator in (app.task, app.task(name="named")):
        with pytest.raises(TypeError, match=told):
            decorator(function)
    assert len(app.registry) == 0


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda: None, "a lambda has no name"),
        (careless(send), r"careless.<locals>.wrapper, which is made inside of another function, has no name"),
        (functools.partial(send, "a"), "a partial has no name"),
        (Account().charge, "the method .*Account.charge of one object has no name"),
        (Account.audit, "the method .*Account.audit of one object has no name"),
    ],
)
def test_what_has_no_name_of_its_own_needs_one(app: RecordingDibs, function: Any, told: str) -> None:
    with pytest.raises(ValueError, match=rf"{told}.* name="):
        app.task(function)

    assert app.task(name="named")(function).name == "named"


@pytest.mark.parametrize("around", [lambda task: task, careful], ids=["a task", "a decorator around a task"])
def test_a_task_of_a_task_is_refused(app: RecordingDibs, around: Callable[[Any], Any]) -> None:
    task = app.task(send)

    with pytest.raises(TypeError, match=r"test_client_mistakes.send is a task already: write one decorator"):
        app.task(name="again")(around(task))


def test_a_static_method_and_a_decorated_function_may_be_tasks(app: RecordingDibs) -> None:
    static = app.task(vars(Account)["greet"])
    decorated = app.task(careful(send))

    static.execute("Ada")
    decorated.execute("Ada", copy=True)

    assert (static.name, decorated.name) == (f"{__name__}.Account.greet", f"{__name__}.send")


@pytest.mark.parametrize("arguments", [{"queue": "a b"}, {"queue": "a:b"}, {"use_dead": "no no"}, {"queue": b"{}"}])
def test_a_queue_that_cannot_be_is_refused_at_the_decorator(app: RecordingDibs, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"the name of a queue has characters of \[A-Za-z0-9_./@-\] only, not '"):
        app.task(**arguments)(send)


# Calls that do not fit


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {}, "missing 1 required positional argument: 'address'"),
        (("a", "b", "c"), {}, "takes from 1 to 2 positional arguments but 3 were given"),
        (("a",), {"address": "b"}, "multiple values for argument 'address'"),
        (("a",), {"countdown": 5}, "unexpected keyword argument 'countdown'; countdown is delay=, in seconds here"),
        (("a",), {"eta": 5}, r"'eta'; eta is options\(at=...\)"),
        (("a",), {"queue": "low"}, r"queue is options\(queue=...\) here"),
        (("a",), {"task_id": "x"}, "task_id is taskid= here"),
        (("a",), {"max_retries": 3}, "max_retries is attempts= in the decorator here"),
        ((), {"adress": "a"}, "'adress'; did you mean address?"),
        (("a",), {"zzz": 1}, "unexpected keyword argument 'zzz'$"),
    ],
)
def test_a_call_that_the_function_does_not_take_is_refused_where_it_is_made(
    app: RecordingDibs, args: tuple[Any, ...], kwargs: dict[str, Any], told: str
) -> None:
    task: dibs.Task[..., None] = app.task(name="mail.send")(send)

    for call in (task.execute, task.options(delay=5).execute, app.get_task("mail.send").execute):
        with pytest.raises(TypeError, match=rf"^mail\.send\(\) .*{told}"):
            call(*args, **kwargs)
    assert app.items == []


def test_the_next_attempt_must_fit_too(app: RecordingDibs) -> None:
    task: dibs.Task[..., None] = app.task(name="mail.send", attempts=2)(send)

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'address'"):
        task.retry()


def positional(a: int, b: int = 1, /, *, c: int) -> None: ...
def gathering(a: int, *rest: int, **more: int) -> None: ...
def with_attempts(a: int, _attempts: int) -> None: ...
def attempts_first(_attempts: int, a: int, *rest: int) -> None: ...
def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "fitting", "misfits"),
    [
        (
            positional,
            [((1,), {"c": 1}), ((1, 2), {"c": 1})],
            [((1,), {}), ((), {"a": 1, "c": 1}), ((1, 2, 3), {"c": 1})],
        ),
        (gathering, [((1, 2, 3), {"x": 1}), ((), {"a": 1}), ((1,), {})], [((), {}), ((1,), {"a": 1})]),
        (with_attempts, [((1,), {}), ((), {"a": 1})], [((), {}), ((1, 2), {})]),
        (attempts_first, [((), {"a": 1})], [((1,), {}), ((1, 2), {})]),
        (nothing, [((), {})], [((1,), {}), ((), {"a": 1})]),
    ],
)
def test_calls_fit_as_python_says(
    app: RecordingDibs, function: Callable[..., Any], fitting: list[Any], misfits: list[Any]
) -> None:
    task: dibs.Task[..., Any] = app.task(function)

    for args, kwargs in fitting:
        task.execute(*args, **kwargs)
        assert decode_call(app.last.content.payload) == (list(args), kwargs)
    for args, kwargs in misfits:
        with pytest.raises(TypeError, match=re.escape(task.name)):
            task.execute(*args, **kwargs)
    assert len(app.items) == len(fitting)


def only_by_place(_attempts: int, /) -> None: ...


def test_attempts_that_can_only_be_passed_by_place_are_refused(app: RecordingDibs) -> None:
    with pytest.raises(TypeError, match="a worker passes _attempts by name"):
        app.task(only_by_place)


def injected(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("connection", *args, **kwargs)

    return wrapper


def test_a_decorator_that_supplies_arguments_is_told_what_to_set(app: RecordingDibs) -> None:
    task = app.task(name="t")(injected(lambda connection, text: None))

    with pytest.raises(TypeError, match=r"missing .*'text'.*have it set __signature__"):
        task.execute("hello")


def test_a_function_that_does_not_say_what_it_takes_is_given_everything(app: RecordingDibs) -> None:
    task: dibs.Task[..., Any] = app.task(name="t")(dict.fromkeys)
    task.execute([1], 2)

    assert decode_call(app.last.content.payload) == ([[1], 2], {})


# Arguments that cannot be written


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        (({1},), {}, "argument 'address' of mail.send: a set cannot be written as JSON: pass a list"),
        (("a", b"b"), {}, "argument 'text' of mail.send: bytes cannot be written as JSON: pass text, such as base64"),
        (("a",), {"copy": UUID(int=1)}, "argument 'copy' of mail.send: a UUID cannot be written as JSON: pass"),
        (("a", {"items": [1, Account()]}), {}, r"argument \"text\['items'\]\[1\]\" of mail.send: an Account cannot"),
        (("a", {(1, 2): 3}), {}, "argument 'text' of mail.send: a tuple cannot be a name in a JSON object"),
        (("a", [math.nan]), {}, r"argument 'text\[0\]' of mail.send: JSON has no number for nan"),
    ],
)
def test_an_argument_that_cannot_be_written_is_named(
    app: RecordingDibs, args: tuple[Any, ...], kwargs: dict[str, Any], told: str
) -> None:
    task: dibs.Task[..., None] = app.task(name="mail.send")(send)

    with pytest.raises(PayloadError, match=told):
        task.execute(*args, **kwargs)
    assert app.items == []


def test_what_holds_itself_or_is_nested_too_deeply_is_said_as_well(app: RecordingDibs) -> None:
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(PayloadError, match="holding itself"):
        cast("dibs.Task[..., None]", app.task(gathering)).execute(itself)


def test_arguments_that_are_gathered_are_named_by_their_place(app: RecordingDibs) -> None:
    with pytest.raises(PayloadError, match=r"argument 'rest\[1\]' of t: a set"):
        cast("dibs.Task[..., None]", app.task(name="t")(gathering)).execute(1, 2, {3})


# Names of elsewhere


@pytest.mark.parametrize("name", ["delay", "apply_async", "send", "kiq", "enqueue", "perform_async", "s"])
def test_methods_of_other_task_queues_are_told_what_they_are_called_here(app: RecordingDibs, name: str) -> None:
    task = app.task(send)

    with pytest.raises(AttributeError, match=rf"execute.*{name!r}"):
        getattr(task, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(task, "nonsense")  # noqa: B009
    assert not hasattr(task, name)


def test_a_name_that_is_nearly_one_is_told_of(app: RecordingDibs) -> None:
    app.task(name="mail.send")(send)

    with pytest.raises(UnknownTask, match=r"'mail.snd'; did you mean mail.send\?"):
        app.get_task("mail.snd")


def test_a_call_of_a_task_that_nobody_knows_warns_once(app: RecordingDibs, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "dibs"):
        app.call_task("mail.snd", None, 1)
        app.call_task("mail.snd", None, 2)

    assert [record.getMessage() for record in caplog.records] == [
        "no worker has registered a task mail.snd in the last 30 days: its calls wait for one"
    ]
    assert len(app.items) == 2


# Aliases


def test_a_renamed_task_is_known_by_its_old_names_too(app: RecordingDibs) -> None:
    task = app.task(name="mail.send", aliases=["mail.old", "mail.older"])(send)

    assert app.registry.find("mail.old") is app.registry.find("mail.older") is task
    assert app.registry.names() == ["mail.old", "mail.older", "mail.send"]
    assert app.registry.tasks() == [task]
    assert "mail.old" in app.registry
    assert app.call_task("mail.old", None, "me").name == "mail.send"


@pytest.mark.parametrize(
    ("name", "aliases", "told"),
    [
        ("new", ["mail.send"], "is a name of the task 'mail.send'"),
        ("new", ["mail.old"], "is a name of the task 'mail.send'"),
        ("mail.old", [], "'mail.old' is an alias of the task 'mail.send'"),
        ("new", ["new"], "is its name: leave it out"),
        ("new", [""], "1-256 printable characters"),
        ("new", "old", "must be a list of names, not the text 'old'"),
    ],
)
def test_an_alias_that_cannot_be_is_refused(app: RecordingDibs, name: str, aliases: Any, told: str) -> None:
    app.task(name="mail.send", aliases=["mail.old"])(send)

    with pytest.raises((ValueError, TypeError), match=told):
        app.task(name=name, aliases=aliases)(numbers_of)
    assert app.registry.names() == ["mail.old", "mail.send"]


def numbers_of() -> None: ...


def test_a_task_that_is_made_anew_has_its_new_aliases_only(app: RecordingDibs) -> None:
    app.task(name="mail.send", aliases=["a", "b"])(send)
    app.task(name="mail.send", aliases=["b", "c"])(send)

    assert app.registry.names() == ["b", "c", "mail.send"]
