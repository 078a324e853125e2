"""What the engine writes into Redis about an item can be read again."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibs.broker.engine.types import (
    DEFAULT_MAX_CRASHES,
    ENDED,
    Kind,
    Retry,
    Spec,
    State,
    Until,
    decode_record,
    decode_spec,
)

NAMES = st.text(string.ascii_letters + string.digits + "_./@-", min_size=1, max_size=128)
TIMES_US = st.integers(0, 10**15)
#: Numbers that six digits hold: as many as are stored.
FACTORS = st.integers(1_000, 100_000).map(lambda thousandths: thousandths / 1000)
SHARES = st.integers(0, 1_000_000).map(lambda millionths: millionths / 1_000_000)
RETRIES = st.builds(Retry, TIMES_US, FACTORS, TIMES_US, SHARES)
SPECS = st.builds(
    Spec,
    st.sampled_from(Kind),
    NAMES,
    st.integers(1, 1_000_000),
    TIMES_US,
    st.none() | RETRIES,
    st.none() | NAMES,
    TIMES_US,
    st.integers(1, 1000),
    st.sampled_from(("", "a", "d", "ad")),
    st.booleans(),
    TIMES_US,
    TIMES_US,
)


@given(SPECS)
def test_a_spec_is_read_as_it_was_written(spec: Spec) -> None:
    assert decode_spec(spec.encode().encode()) == spec


@given(SPECS)
def test_a_written_spec_is_one_line_of_ten_words_and_what_is_out_of_the_ordinary(spec: Spec) -> None:
    text = spec.encode()
    assert "\n" not in text
    unusual = [spec.max_crashes != DEFAULT_MAX_CRASHES, spec.renew, spec.limit_us, spec.expires_us, spec.open]
    assert len(text.split(" ")) == 10 + sum(map(bool, unusual))


def test_a_dead_letter_queue_may_be_called_dash() -> None:
    spec = Spec(Kind.TASK, "-", dead_queue="-")
    assert decode_spec(spec.encode().encode()) == spec


@given(SPECS, TIMES_US, TIMES_US, st.binary(max_size=300))
def test_a_record_is_read_as_it_was_written_whatever_its_body_holds(
    spec: Spec, enqueued_us: int, due_us: int, body: bytes
) -> None:
    record = decode_record(f"{enqueued_us} {due_us} {spec.encode()}\n".encode() + body)
    assert record == (enqueued_us, due_us, spec, body)


@pytest.mark.parametrize("state", State)
def test_now_is_reached_in_every_state(state: State) -> None:
    assert Until.NOW.reached(state)


@pytest.mark.parametrize("state", State)
def test_done_is_reached_when_nothing_more_can_happen(state: State) -> None:
    assert Until.DONE.reached(state) == (state in ENDED)


@pytest.mark.parametrize("state", State)
def test_started_is_reached_by_a_start_or_an_end(state: State) -> None:
    assert Until.STARTED.reached(state) == (state is State.STARTED or state in ENDED)


def test_whatever_lua_reads_of_a_spec_is_read() -> None:
    assert decode_spec(b"t q\xff 1 0 1e3 2 5e3 0.5 : 0 v=1 crashes=x word \xfe=1") == Spec(
        Kind.TASK, "q\ufffd", retry=Retry(1000, 2.0, 5000, 0.5)
    )
