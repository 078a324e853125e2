"""Arguments and results of annotated types: plain JSON on the wire, and the same value again on the other side."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibs import DibsError, PayloadError
from dibs.rpc.codec import decode_call, decode_json, encode_json
from dibs.tasks.call_schema import CallSchema
from dibs.tasks.plain import plain_schema
from dibs.tasks.types import TaskTypes

from ..support.recording import RecordingDibs

if TYPE_CHECKING:
    from nowhere import Nothing  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass(frozen=True)
class Line:
    sku: str
    count: int = 1
    price: Decimal = Decimal("0.00")


@dataclasses.dataclass
class Order:
    id: UUID
    at: datetime
    lines: list[Line]
    colour: Colour = Colour.RED
    parent: Order | None = None


@attrs.define
class Parcel:
    weight: Decimal
    due: date | None = None
    notes: dict[str, timedelta] = attrs.field(factory=dict)


class Point(NamedTuple):
    x: int
    at: time


class Window(TypedDict, total=False):
    begin: date
    days: int


class Plain(TypedDict):
    name: str
    tags: list[str]


class Address(pydantic.BaseModel):
    street: str
    since: date = pydantic.Field(alias="since_date")


class Customer(pydantic.BaseModel):
    name: str
    addresses: list[Address] = []


@dataclasses.dataclass
class Delivered:
    to: Customer
    folder: Path


class Unknown:
    """Nobody can write it."""


Sku = NewType("Sku", str)

ID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
NOON = datetime(2026, 11, 27, 12, 30, 15, 250_000, tzinfo=UTC)
CUSTOMER = Customer(name="Ada", addresses=[Address(street="High St", since_date=date(2020, 2, 29))])

#: Annotation, value, and what is on the wire.
CASES: list[tuple[Any, Any, Any]] = [
    (datetime, NOON, "2026-11-27T12:30:15.250000Z"),
    (datetime, NOON.replace(tzinfo=None), "2026-11-27T12:30:15.250000"),
    (datetime, NOON.astimezone(timezone(timedelta(hours=2))), "2026-11-27T14:30:15.250000+02:00"),
    (date, date(2026, 11, 27), "2026-11-27"),
    (time, time(12, 30), "12:30:00"),
    (timedelta, timedelta(days=1, seconds=2, microseconds=3), "P1DT2.000003S"),
    (timedelta, -timedelta(days=1), "-P1D"),
    (UUID, ID, str(ID)),
    (Decimal, Decimal("1.10"), "1.10"),
    (Colour, Colour.BLUE, "blue"),
    (Level, Level.HIGH, 2),
    (bytes, b"\x00\xff", "AP8="),
    (set[int], {3}, [3]),
    (frozenset[date], frozenset({date(2026, 1, 1)}), ["2026-01-01"]),
    (tuple, (1, "a"), [1, "a"]),
    (tuple[int, date], (1, date(2026, 1, 1)), [1, "2026-01-01"]),
    (tuple[date, ...], (date(2026, 1, 1),) * 2, ["2026-01-01"] * 2),
    (Point, Point(1, time(2)), [1, "02:00:00"]),
    (Window, {"begin": date(2026, 1, 1)}, {"begin": "2026-01-01"}),
    (dict[int, str], {1: "a"}, {"1": "a"}),
    (dict[date, list[UUID]], {date(2026, 1, 1): [ID]}, {"2026-01-01": [str(ID)]}),
    (list[datetime | None], [NOON, None], ["2026-11-27T12:30:15.250000Z", None]),
    (Mapping[str, date], {"a": date(2026, 1, 1)}, {"a": "2026-01-01"}),
    (Sequence[Colour], [Colour.RED], ["red"]),
    (Line, Line("a", 2, Decimal("3.50")), {"sku": "a", "count": 2, "price": "3.50"}),
    (
        Order,
        Order(ID, NOON, [Line("a")], parent=Order(ID, NOON, [], Colour.BLUE)),
        {
            "id": str(ID),
            "at": "2026-11-27T12:30:15.250000Z",
            "lines": [{"sku": "a", "count": 1, "price": "0.00"}],
            "colour": "red",
            "parent": {
                "id": str(ID),
                "at": "2026-11-27T12:30:15.250000Z",
                "lines": [],
                "colour": "blue",
                "parent": None,
            },
        },
    ),
    (
        Parcel,
        Parcel(Decimal("2.5"), date(2026, 1, 1), {"rest": timedelta(hours=1)}),
        {"weight": "2.5", "due": "2026-01-01", "notes": {"rest": "PT3600S"}},
    ),
    (Customer, CUSTOMER, {"name": "Ada", "addresses": [{"street": "High St", "since_date": "2020-02-29"}]}),
    (
        list[Customer] | None,
        [CUSTOMER],
        [{"name": "Ada", "addresses": [{"street": "High St", "since_date": "2020-02-29"}]}],
    ),
    (
        Delivered,
        Delivered(Customer(name="Ada"), Path("/tmp/a")),
        {"to": {"name": "Ada", "addresses": []}, "folder": "/tmp/a"},
    ),
    (PurePosixPath, PurePosixPath("a/b"), "a/b"),
    (Annotated[UUID, "of the order"], ID, str(ID)),
    (Line | None, None, None),
    (Line | int, 5, 5),
    (Line | int, Line("a"), {"sku": "a", "count": 1, "price": "0.00"}),
]


@pytest.fixture
def app() -> RecordingDibs:
    return RecordingDibs()


def taking(hint: Any, returns: Any = None) -> Callable[..., Any]:
    """A function of one parameter, annotated."""

    def take(value: Any) -> Any:
        return value

    take.__annotations__ = {"value": hint, "return": returns}
    return take


def types_of(task: Any) -> TaskTypes:
    types: TaskTypes = task.definition.types
    assert types is not None
    return types


@pytest.mark.parametrize(("hint", "value", "wire"), CASES, ids=[str(case[0]) for case in CASES])
def test_an_argument_is_plain_json_on_the_wire_and_the_same_value_in_the_worker(
    app: RecordingDibs, hint: Any, value: Any, wire: Any
) -> None:
    task: Any = app.task(name="t")(taking(hint))

    task.execute(value)
    task.execute(value=value)

    for item, sent in zip(app.items, (([wire], {}), ([], {"value": wire})), strict=True):
        assert decode_call(item.content.payload) == sent
        args, kwargs = types_of(task).read(*sent)
        received = [*args, *kwargs.values()][0]
        assert (received, type(received)) == (value, type(value))


@pytest.mark.parametrize(("hint", "value", "wire"), CASES, ids=[str(case[0]) for case in CASES])
def test_so_is_a_result(app: RecordingDibs, hint: Any, value: Any, wire: Any) -> None:
    task: Any = app.task(name="t", save_results=60)(taking(Any, hint))

    written = decode_json(encode_json(types_of(task).write_result(value)))

    assert written == wire
    assert types_of(task).read_result(written) == value


@pytest.mark.parametrize(("hint", "value", "wire"), CASES, ids=[str(case[0]) for case in CASES])
def test_what_is_on_the_wire_is_what_the_schema_says(app: RecordingDibs, hint: Any, value: Any, wire: Any) -> None:
    text = app.task(name="t")(taking(hint)).definition.annotated.schema()
    schema = CallSchema.parse(text, "t")
    assert schema is not None

    schema.check([wire], {})
    with pytest.raises(PayloadError, match="argument 'value' of t"):
        schema.check([{"neither": "nor"} if isinstance(wire, list | str | int | None) else 5.5], {})


MANY = st.one_of(
    st.tuples(st.just(datetime), st.datetimes(timezones=st.none() | st.just(UTC))),
    st.tuples(st.just(date), st.dates()),
    st.tuples(st.just(time), st.times()),
    st.tuples(st.just(timedelta), st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000))),
    st.tuples(st.just(UUID), st.uuids()),
    st.tuples(st.just(Decimal), st.decimals(allow_nan=False, allow_infinity=False)),
    st.tuples(st.just(bytes), st.binary()),
    st.tuples(st.just(set[int]), st.sets(st.integers(-(2**63), 2**63))),
    st.tuples(st.just(dict[int, str]), st.dictionaries(st.integers(-(2**63), 2**63), st.text())),
    st.tuples(st.just(dict[UUID, bytes]), st.dictionaries(st.uuids(), st.binary())),
    st.tuples(st.just(tuple[date, ...]), st.lists(st.dates()).map(tuple)),
    st.tuples(st.just(Line), st.builds(Line, st.text(), st.integers(-(2**63), 2**63), st.just(Decimal("1.5")))),
    st.tuples(st.just(list[Parcel]), st.lists(st.builds(Parcel, st.just(Decimal(1)), st.none() | st.dates()))),
)


@given(MANY)
def test_any_value_comes_back(case: tuple[Any, Any]) -> None:
    hint, value = case
    app = RecordingDibs()
    task: Any = app.task(name="t")(taking(hint))

    task.execute(value)

    args, _ = types_of(task).read(*decode_call(app.last.content.payload))
    assert args == [value]


def many(when: datetime, /, *rest: UUID, until: date | None = None, **more: Decimal) -> None: ...


def test_arguments_of_every_kind_are_converted(app: RecordingDibs) -> None:
    task = app.task(many)

    task.execute(NOON, ID, ID, until=date(2026, 1, 1), price=Decimal(1))

    sent = decode_call(app.last.content.payload)
    assert sent == (["2026-11-27T12:30:15.250000Z", str(ID), str(ID)], {"until": "2026-01-01", "price": "1"})
    assert types_of(task).read(*sent) == ([NOON, ID, ID], {"until": date(2026, 1, 1), "price": Decimal(1)})


def late(when: datetime = None, path: Unknown | None = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013


def test_a_default_of_none_may_be_passed_and_a_parameter_that_nobody_can_write_be_left_out(app: RecordingDibs) -> None:
    task: Any = app.task(late)

    task.execute(None)
    task.execute(NOON)

    assert [decode_call(item.content.payload)[0] for item in app.items] == [[None], ["2026-11-27T12:30:15.250000Z"]]
    with pytest.raises(PayloadError, match=r"argument 'path' of .*late: an Unknown cannot be written as JSON"):
        task.execute(NOON, Unknown())


@pytest.mark.parametrize(
    ("hint", "value", "told"),
    [
        (datetime, "soon", "argument 'value' of t is not datetime: Invalid"),
        (datetime, date(2026, 1, 1), "argument 'value' of t is not datetime"),
        (UUID, 5, "argument 'value' of t is not UUID: Expected `uuid`, got `int`"),
        (bytes, "abcd", "argument 'value' of t is not bytes: Expected `bytes`, got `str`"),
        (Line, {"count": 1}, "is not Line: Object missing required field `sku`"),
        (list[Line], [Line("a"), 5], r"is not list\[.*Line\]: Expected `object`, got `int` - at `\$\[1\]`"),
        (Line, Line("a", "many"), r"Expected `int`, got `str` - at `\$.count`"),  # type: ignore[arg-type]
        (Colour, "green", "Invalid enum value 'green'"),
        (Customer, {"name": 5}, "1 validation error for Customer"),
        (set[int], {"a"}, "Expected `int`, got `str`"),
        (Line, Unknown(), "is not Line"),
    ],
)
def test_a_value_that_is_not_what_its_annotation_says_is_refused_where_the_call_is_made(
    app: RecordingDibs, hint: Any, value: Any, told: str
) -> None:
    task: Any = app.task(name="t")(taking(hint))

    with pytest.raises(PayloadError, match=told):
        task.execute(value)
    assert app.items == []


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        (datetime | str, "may not contain more than one str-like type"),
        (Line | Order, "may not contain more than one dataclass"),
        (Line | Customer, "custom type"),
        (dict[tuple[int, int], date], "argument 'value' of t: "),
        (Unknown, "argument 'value' of t: Unknown cannot be written as JSON. Annotate it with"),
        (list[Unknown], "Unknown cannot be written as JSON"),
        (Callable[[], int], "cannot be written as JSON"),
        (complex, "complex cannot be written as JSON"),
    ],
)
def test_what_cannot_be_told_apart_or_written_is_refused_at_the_decorator(
    app: RecordingDibs, hint: Any, told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        app.task(name="t")(taking(hint))
    with pytest.raises(TypeError, match=told.replace("argument 'value' of t", "the result of t")):
        app.task(name="t", save_results=1)(taking(int, hint))
    app.task(name="kept by nobody")(taking(int, hint))


@pytest.mark.parametrize(
    "hint",
    [
        *(Any, object, None, int, str, float, bool, list, dict, list[int], dict[str, Any], int | None, Plain),
        *(
            Sequence[str],
            Mapping[str, float],
            Literal["a", 1],
            Sku,
            Annotated[int, "cents"],
            list[dict[str, int | str]],
        ),
    ],
)
def test_what_json_has_is_not_converted(app: RecordingDibs, hint: Any) -> None:
    task = app.task(name="t", save_results=60)(taking(hint, hint))

    assert task.definition.types is None
    assert plain_schema(hint) is not None


def test_plain_annotations_are_not_enforced(app: RecordingDibs) -> None:
    task: Any = app.task(name="t")(taking(int))

    task.execute("text")

    assert decode_call(app.last.content.payload) == (["text"], {})


# Annotations that are not there


def before(order: Later) -> None: ...  # type: ignore[name-defined]


def test_what_is_defined_below_the_task_is_found_when_it_is_needed(app: RecordingDibs) -> None:
    task = app.task(before)
    global Later

    @dataclasses.dataclass
    class Later:
        when: date

    later = Later(date(2026, 1, 1))  # type: ignore[name-defined]
    task.execute(later)

    sent = decode_call(app.last.content.payload)
    assert sent == ([{"when": "2026-01-01"}], {})
    assert types_of(task).read(*sent) == ([later], {})


def guarded(thing: Nothing, when: date) -> Nothing: ...


def test_what_is_not_there_at_all_is_plain_json_and_that_is_said_once(
    app: RecordingDibs, caplog: pytest.LogCaptureFixture
) -> None:
    task = app.task(guarded)

    with caplog.at_level(logging.WARNING, "dibs"):
        task.execute({"a": 1}, date(2026, 1, 1))
        task.execute("anything", date(2026, 1, 1))

    assert [decode_call(item.content.payload)[0][0] for item in app.items] == [{"a": 1}, "anything"]
    assert [record.getMessage() for record in caplog.records] == [
        f"annotations of {task.name} are not known here, so these are plain JSON: "
        "Nothing of 'thing', Nothing of 'return'"
    ]


def test_the_schema_says_nothing_of_what_is_not_there(app: RecordingDibs) -> None:
    schema = json.loads(app.task(guarded).definition.annotated.schema())

    assert schema["properties"] == {"thing": {}, "when": {"type": "string", "format": "date"}}
    assert schema["required"] == ["thing", "when"]
    assert schema["x-dibs"]["result"] == {}


def test_without_msgspec_the_decorator_says_what_to_install(
    app: RecordingDibs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "dibs.tasks.typed", raising=False)
    monkeypatch.setitem(sys.modules, "msgspec", None)

    with pytest.raises(DibsError, match=r"'value' of t is datetime, which needs msgspec: pip install 'dibs\[typed\]'"):
        app.task(name="t")(taking(datetime))
    app.task(name="plain")(taking(dict[str, list[int]], None))
    app.task(name="result of nobody")(taking(int, datetime))


# Calls by name


def quote(
    sku: str, count: int = 1, *, when: date, tags: list[str] | None = None, kind: Literal["a", "b"] = "a"
) -> float:
    return 1.0


def by_name() -> CallSchema:
    schema = CallSchema.parse(RecordingDibs().task(name="quote")(quote).definition.annotated.schema(), "quote")
    assert schema is not None
    return schema


def test_the_schema_has_arguments_by_name_and_says_how_they_are_passed() -> None:
    schema = json.loads(RecordingDibs().task(name="quote")(quote).definition.annotated.schema())

    assert schema["title"] == "quote"
    assert schema["properties"]["count"] == {"type": "integer"}
    assert schema["properties"]["when"] == {"type": "string", "format": "date"}
    assert (schema["required"], schema["additionalProperties"]) == (["sku", "when"], False)
    assert schema["x-dibs"] == {
        "positional": ["sku", "count"],
        "positionalOnly": [],
        "morePositional": False,
        "result": {"type": "number"},
    }


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (["a"], {"when": "2026-01-01"}),
        (["a", 2], {"when": "2026-01-01", "tags": ["x"]}),
        ([], {"sku": "a", "count": 2.0, "when": "2026-01-01", "tags": None, "kind": "b"}),
    ],
)
def test_a_call_by_name_that_fits_is_taken(args: list[Any], kwargs: dict[str, Any]) -> None:
    by_name().check(args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "told"),
    [
        ([], {}, TypeError, r"quote\(\) is missing the argument 'sku'"),
        (["a", 1, 2], {"when": "x"}, TypeError, r"takes 2 positional arguments but 3 were given"),
        (["a"], {"sku": "b", "when": "x"}, TypeError, "multiple values for argument 'sku'"),
        (["a"], {"when": "x", "cuont": 1}, TypeError, r"unexpected keyword argument 'cuont'; did you mean count\?"),
        (["a"], {"when": "x", "countdown": 5}, TypeError, "countdown"),
        ([5], {"when": "x"}, PayloadError, "argument 'sku' of quote must be a string, not 5"),
        (["a", True], {"when": "x"}, PayloadError, "argument 'count' of quote must be an integer, not True"),
        (["a", 1.5], {"when": "x"}, PayloadError, "'count' of quote must be an integer, not 1.5"),
        (["a"], {"when": "x", "tags": [1]}, PayloadError, r"argument 'tags\[0\]' of quote must be a string, not 1"),
        (["a"], {"when": "x", "tags": "x"}, PayloadError, "'tags' of quote must be an array or null, not 'x'"),
        (["a"], {"when": "x", "kind": "c"}, PayloadError, "'kind' of quote must be \"a\" or \"b\", not 'c'"),
        (["a" * 99, 1.5], {"when": "x"}, PayloadError, "must be an integer"),
    ],
)
def test_a_call_by_name_that_does_not_fit_is_refused(
    args: list[Any], kwargs: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        by_name().check(args, kwargs)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "{}", '{"properties": 5}'])
def test_by_a_schema_that_is_not_understood_nothing_is_checked(text: str) -> None:
    assert CallSchema.parse(text, "t") is None
