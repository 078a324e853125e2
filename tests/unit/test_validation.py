"""Checks of what stands in requests."""

from __future__ import annotations

import math

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from dibs.broker.border.errors import InvalidField
from dibs.broker.messages import validation as check

DAY_US = 86_400_000_000


@pytest.mark.parametrize("good", ["a", "mail.eu/high@x-1_2", "A" * 128])
def test_a_name_within_the_alphabet_is_taken(good: str) -> None:
    assert check.name(good, "queue", 128) == good


@pytest.mark.parametrize("bad", ["", "a b", "a:b", "{a}", "ä", "a\n", "\n", "A" * 129, "a\x00"])
def test_any_other_name_is_refused_with_its_field(bad: str) -> None:
    with pytest.raises(InvalidField, match=r"must be 1 to 128 characters") as caught:
        check.name(bad, "queue", 128)

    assert caught.value.field == "queue"


def test_a_refused_name_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(InvalidField):
            check.name("not good", "queue", 128)


def test_the_limit_on_names_is_a_parameter() -> None:
    assert check.name("a" * 200, "queue", 200)
    with pytest.raises(InvalidField):
        check.name("a" * 200, "queue", 199)


def test_an_empty_namespace_means_default() -> None:
    assert check.namespace("", 128) == "default"
    assert check.namespace("prod", 128) == "prod"


@pytest.mark.parametrize("good", ["a", "mod.func", "ein Name mit Blanks", "größe", "x" * 256])
def test_a_printable_task_name_is_taken(good: str) -> None:
    assert check.task_name(good, "task_name", 256) == good


@pytest.mark.parametrize("bad", ["", "a\n", "\x7f", "a\u200b", "x" * 257])
def test_any_other_task_name_is_refused(bad: str) -> None:
    with pytest.raises(InvalidField, match="printable"):
        check.task_name(bad, "task_name", 256)


@pytest.mark.parametrize("good", ["a", "0", "~!@#:{}%", "x" * 128])
def test_an_id_of_printable_ascii_is_taken(good: str) -> None:
    assert check.identifier(good, "id", 128) == good


@pytest.mark.parametrize("bad", ["", " ", "a b", "a\t", "é", "a\x7f", "x" * 129])
def test_any_other_id_is_refused(bad: str) -> None:
    with pytest.raises(InvalidField, match="printable ASCII"):
        check.identifier(bad, "id", 128)


@given(st.text(max_size=140))
def test_ids_that_pass_are_safe_to_build_a_key_from(value: str) -> None:
    try:
        check.identifier(value, "id", 128)
    except InvalidField:
        return
    assert 1 <= len(value) <= 128
    assert all(33 <= ord(character) <= 126 for character in value)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (Duration(), 0),
        (Duration(seconds=1), 1_000_000),
        (Duration(nanos=1), 1),
        (Duration(nanos=1001), 2),
        (Duration(seconds=2, nanos=999_999_999), 3_000_000),
    ],
)
def test_a_duration_becomes_microseconds_rounded_up(duration: Duration, expected: int) -> None:
    assert check.duration_us(duration, "delay", DAY_US) == expected


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (Duration(seconds=-1), "negative"),
        (Duration(nanos=-1), "negative"),
        (Duration(seconds=-1, nanos=-1), "negative"),
        (Duration(seconds=-1, nanos=1), "malformed"),
        (Duration(seconds=1, nanos=-1), "malformed"),
        (Duration(nanos=1_000_000_000), "malformed"),
        (Duration(nanos=-1_000_000_000), "malformed"),
        (Duration(seconds=86_400, nanos=1), "must be 0 s to 86400 s"),
        (Duration(seconds=2**63 - 1), "must be 0 s to 86400 s"),
        (Duration(seconds=-(2**63)), "negative"),
    ],
)
def test_a_bad_duration_is_refused(duration: Duration, text: str) -> None:
    with pytest.raises(InvalidField, match=text):
        check.duration_us(duration, "delay", DAY_US)


def test_a_lease_is_nothing_or_at_least_the_minimum() -> None:
    def lease(**parts: int) -> int:
        return check.duration_us(Duration(**parts), "lease_timeout", DAY_US, minimum_us=1000, zero_allowed=True)

    assert lease() == 0
    assert lease(nanos=1_000_000) == 1000
    with pytest.raises(InvalidField, match=r"must be 0, or 0\.001 s to 86400 s"):
        lease(nanos=1)
    with pytest.raises(InvalidField, match=r"is 0 s, must be 0\.001 s to 86400 s"):
        check.duration_us(Duration(), "result_ttl", DAY_US, minimum_us=1000)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_every_duration_is_refused_or_within_bounds(seconds: int, nanos: int) -> None:
    try:
        length = check.duration_us(Duration(seconds=seconds, nanos=nanos), "delay", DAY_US)
    except InvalidField:
        return
    assert 0 <= length <= DAY_US


def test_a_timestamp_becomes_microseconds_since_1970() -> None:
    past = Timestamp(seconds=1_700_000_000, nanos=1500)

    assert check.timestamp_us(past, "schedule_time") == 1_700_000_000_000_002
    assert check.timestamp_us(Timestamp(seconds=-5), "schedule_time") == -5_000_000


@pytest.mark.parametrize(
    "bad", [Timestamp(nanos=-1), Timestamp(nanos=1_000_000_000), Timestamp(seconds=2**62), Timestamp(seconds=-(2**62))]
)
def test_a_malformed_timestamp_is_refused(bad: Timestamp) -> None:
    with pytest.raises(InvalidField, match="malformed"):
        check.timestamp_us(bad, "schedule_time")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.1, 1.1])
def test_a_number_out_of_bounds_or_none_at_all_is_refused(bad: float) -> None:
    with pytest.raises(InvalidField, match="must be 0 to 1"):
        check.number(bad, "jitter", 0, 1)


@pytest.mark.parametrize("bad", [0, -1, 11, 2**31 - 1])
def test_an_integer_out_of_bounds_is_refused(bad: int) -> None:
    with pytest.raises(InvalidField, match="must be 1 to 10"):
        check.integer(bad, "attempts", 1, 10)


@pytest.mark.parametrize("entries", [0, 1001])
def test_a_batch_is_neither_empty_nor_too_large(entries: int) -> None:
    with pytest.raises(InvalidField, match="must have 1 to 1000"):
        check.batch(entries, "items", 1000)


def test_an_enum_value_that_nobody_knows_is_refused() -> None:
    assert check.choice(2, "kind", {1: "task", 2: "data"}) == "data"
    with pytest.raises(InvalidField, match="is 7, must be one of 1, 2"):
        check.choice(7, "kind", {1: "task", 2: "data"})


@pytest.mark.parametrize("token", [0, -1])
def test_a_lease_token_is_above_zero(token: int) -> None:
    with pytest.raises(InvalidField, match="token"):
        check.lease_token(token, "lease_token")


def test_a_payload_may_be_as_large_as_the_limit() -> None:
    assert check.payload(b"x" * 10, "payload", 10) == b"x" * 10
    with pytest.raises(InvalidField, match="has 11 bytes, must have at most 10"):
        check.payload(b"x" * 11, "payload", 10)


@pytest.mark.parametrize(
    ("headers", "text"),
    [({"a": "", "b": "", "c": ""}, "3 entries"), ({"a": "é" * 10}, "21 bytes"), ({"": "x"}, "empty names")],
)
def test_headers_are_few_and_small(headers: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidField, match=text):
        check.headers(headers, "headers", 2, 20)


def test_headers_within_the_limits_are_taken() -> None:
    check.headers({}, "headers", 0, 0)
    check.headers({"traceparent": "x" * 9}, "headers", 1, 20)


@given(st.text(), st.integers(0, 40))
def test_text_is_cut_between_characters(value: str, limit: int) -> None:
    result = check.cut(value, limit)

    assert value.startswith(result)
    assert len(result.encode()) <= limit
    assert result == value or len((result + value[len(result)]).encode()) > limit


def test_the_path_to_a_field_grows_on_the_way_up() -> None:
    error = InvalidField("initial_delay", "must not be negative").under("policy.retry").under("items[3]")

    assert error.field == "items[3].policy.retry.initial_delay"
    assert str(error) == "items[3].policy.retry.initial_delay: must not be negative"


def test_an_error_of_a_whole_message_has_the_path_of_the_message() -> None:
    assert InvalidField("", "is odd").under("items[3]").field == "items[3]"
