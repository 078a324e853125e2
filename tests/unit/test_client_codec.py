import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibs.errors import PayloadError
from dibs.rpc.codec import decode_call, decode_json, encode_call, encode_json

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_every_json_value_comes_back_as_it_was(value: Any) -> None:
    assert decode_json(encode_json(value)) == value


@given(st.lists(json_values), st.dictionaries(st.text(), json_values))
def test_every_call_comes_back_as_it_was(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert decode_call(encode_call(args, kwargs)) == (args, kwargs)


@pytest.mark.parametrize("value", [2**63, -(2**64), 10**4000])
def test_integers_keep_their_value_whatever_their_size(value: int) -> None:
    assert decode_json(encode_json(value)) == value


def test_text_is_sent_as_utf_8() -> None:
    assert encode_json("zażółć 🦆") == '"zażółć 🦆"'.encode()


def test_a_lone_surrogate_survives() -> None:
    assert decode_json(encode_json("\ud800")) == "\ud800"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_are_refused(value: float) -> None:
    with pytest.raises(PayloadError, match="JSON"):
        encode_json([value])


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b"-Infinity"])
def test_constants_that_json_does_not_have_are_refused_when_read(text: bytes) -> None:
    with pytest.raises(PayloadError, match="not a JSON number"):
        decode_json(text)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), {(1, 2): 3}])
def test_what_json_cannot_express_is_refused(value: object) -> None:
    with pytest.raises(PayloadError, match="cannot be written as JSON"):
        encode_json(value)


def test_a_structure_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(PayloadError, match="holding itself"):
        encode_json(loop)


def test_deep_nesting_within_reason_comes_back() -> None:
    value: list[Any] = []
    for _ in range(300):
        value = [value]

    assert decode_json(encode_json(value)) == value


def test_nesting_without_reason_is_refused_in_both_directions() -> None:
    with pytest.raises(PayloadError, match="nested too deeply"):
        decode_json(b"[" * 200_000 + b"]" * 200_000)


def test_blanks_around_a_value_do_no_harm() -> None:
    assert decode_json(b' \n {"a": 1}\n') == {"a": 1}


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{", "not JSON"),
        (b"[] []", "not JSON"),
        (b"[1, 2]", "must be"),
        (b'{"arg": [1]}', "must be"),
        (b'{"args": {"a": 1}}', "must be a list, not an object"),
        (b'{"kwargs": [1]}', "must be an object, not a list"),
        (b'{"args": null}', "must be a list, not null"),
        (b'{"args": 5}', "must be a list, not a number"),
    ],
)
def test_a_payload_that_is_no_call_is_refused_with_the_reason(payload: bytes, complaint: str) -> None:
    with pytest.raises(PayloadError, match=complaint):
        decode_call(payload)


def test_a_call_from_elsewhere_may_leave_out_either_member() -> None:
    assert decode_call(b"{}") == ([], {})
    assert decode_call(b'{"args": [1]}') == ([1], {})
    assert decode_call(b'{"kwargs": {"a": 1}}') == ([], {"a": 1})


def test_a_call_without_arguments_gives_fresh_containers_each_time() -> None:
    first = decode_call(encode_call((), {}))
    first[0].append(1)

    assert decode_call(encode_call((), {})) == ([], {})
