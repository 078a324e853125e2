"""How the operator's commands write values, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dibs.cli import machine, values, words
from dibs.cli.sparkline import sparkline
from dibs.v1 import admin_pb2 as admin
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 ms"),
        (0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.0099, "9.9 ms"),
        (0.00999, "10 ms"),
        (0.25, "250 ms"),
        (0.9999, "1.0 s"),
        (1.04, "1.0 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 m 0 s"),
        (61, "1 m 1 s"),
        (3_599.9, "1 h 0 m"),
        (3_660, "1 h 1 m"),
        (90_000, "1 d 1 h"),
    ],
)
def test_lengths_of_time_have_two_units(seconds: float, text: str) -> None:
    assert words.age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (3 * 1024**3, "3 GiB"),
        (2**60, "1048576 TiB"),
    ],
)
def test_amounts_of_bytes(number: int, text: str) -> None:
    assert words.size(number) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (None, "–"),
        (0, "·"),
        (0.25, "0.25/s"),
        (0.999, "1/s"),
        (9.94, "9.9/s"),
        (12.345, "12/s"),
        (12_345.6, "12,346/s"),
    ],
)
def test_rates(per_second: float | None, text: str) -> None:
    assert words.rate(per_second) == text


def test_what_would_steer_a_terminal_is_shown_instead() -> None:
    assert words.plain("a\x1b[31mred\x07\x9b\u202e") == r"a\x1b[31mred\x07\x9b\u202e"
    assert words.plain("two\nlines\tand a tab") == "two\nlines\tand a tab"
    assert words.one_line("two\n lines") == "two lines"
    assert words.plain("abcdef", limit=4) == "abc…"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (tpb.Content(task_name="t", payload=b'{"args":[1,"x"],"kwargs":{"n":null}}'), '1, "x", n=null'),
        (tpb.Content(task_name="t", payload=b'{"args":[],"kwargs":{}}'), ""),
        (tpb.Content(task_name="t", payload=b"[1,2]"), "[1, 2]"),
        (tpb.Content(payload=b'{"any": "json"}'), '{"any": "json"}'),
        (tpb.Content(payload=b"\xff\x00"), r"b'\xff\x00'"),
        (tpb.Content(), ""),
    ],
)
def test_what_an_item_carries_is_written_as_a_call_writes_it(content: tpb.Content, text: str) -> None:
    assert words.arguments(content) == text


def test_messages_become_json_with_the_names_of_the_contract() -> None:
    policy = tpb.DeliveryPolicy(attempts=3, lease_timeout=Duration(seconds=1, nanos=500_000_000))
    found = machine.as_json(
        admin.ItemInfo(
            id="i",
            kind=tpb.QUEUE_KIND_TASK,
            state=tpb.ITEM_STATE_WAITING,
            content=tpb.Content(task_name="t", payload=b'{"args":[1]}', headers={"a": "b"}),
            policy=policy,
            enqueue_time=Timestamp(seconds=1, nanos=500_000_000),
        )
    )
    assert json.loads(machine.dump(found)) == found
    assert (found["id"], found["kind"], found["state"]) == ("i", "TASK", "WAITING")
    assert found["content"] == {"task_name": "t", "payload": {"args": [1]}, "headers": {"a": "b"}}
    assert found["policy"]["lease_timeout_seconds"] == 1.5
    assert found["policy"]["result_ttl_seconds"] is None
    assert found["enqueue_time"] == "1970-01-01T00:00:01.500Z"
    assert found["death_time"] is None


def test_numbers_stay_numbers_and_what_is_not_json_is_base64() -> None:
    queue = machine.as_json(admin.QueueInfo(seen=2**60, priority=1.5))
    assert (queue["seen"], queue["priority"], queue["ready"]) == (2**60, 1.5, 0)
    assert machine.as_json(admin.QueueInfo())["priority"] is None
    result = machine.as_json(pb.ItemResult(result=b"\xff"))
    assert (result["result"], result["result_base64"]) == (None, "/w==")
    assert machine.as_json(pb.ItemResult(result=b'"x"'))["result"] == "x"
    listed = machine.as_json(admin.ListItemsResponse(items=[admin.ItemInfo(id="a")]))
    assert [one["id"] for one in listed["items"]] == ["a"]


def test_a_value_of_an_enum_that_is_not_known_here_is_its_number() -> None:
    assert machine.as_json(admin.QueueInfo(kind=77))["kind"] == "77"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2.0), ("1.5s", 1.5), ("250ms", 0.25), ("5 m", 300.0), ("2h", 7_200.0), ("1d", 86_400.0)]
)
def test_lengths_of_time_are_read(text: str, seconds: float) -> None:
    assert values.span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "x", "-1s", "1 year", "1s 2s", "nan", "inf"])
def test_other_lengths_of_time_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not a length of time"):
        values.span(text)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-inf", "1e999"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not a number"):
        values.number(text)


@pytest.mark.parametrize(("text", "said"), [("[1", "not JSON"), ("NaN", "not JSON"), ("{}", "must be a JSON list")])
def test_json_that_is_none_names_its_option(text: str, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said) as caught:
        values.json_list(text, "--args")
    assert caught.value.param_hint == "--args"


def test_json_objects_and_absent_options() -> None:
    assert values.json_object('{"a": 1}', "--kwargs") == {"a": 1}
    assert (values.json_list(None, "--args"), values.json_object(None, "--kwargs")) == ([], {})
    with pytest.raises(typer.BadParameter, match="must be a JSON object"):
        values.json_object("[]", "--kwargs")


def test_curves() -> None:
    assert sparkline([0, 1, 4, 8], 6) == "  ▁▂▅█"
    assert sparkline([0, 0], 2) == "▁▁"
    assert sparkline([], 3) == "   "
    assert sparkline([0.001, 100], 2) == "▂█", "what is not nothing is told apart"
    assert sparkline([1, 9, 2, 3], 2) == "█▃", "the highest of each group is drawn"
    assert len(sparkline(list(range(61)), 20)) == 20


def test_ages_of_times() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    time = Timestamp()
    time.FromDatetime(now - timedelta(seconds=5))
    assert words.since(time, now) == 5.0
    assert words.moment(Timestamp(seconds=1, nanos=5_000_000)).endswith(":01.005")
