"""What the stateful test draws its steps from."""

from __future__ import annotations

from hypothesis import strategies as st

from dibs.broker.engine.types import DEFAULT_MAX_CRASHES, Conflict, Kind, NewItem, Retry, Spec

BEGIN_US = 1_800_000_000_000_000
SECOND_US = 1_000_000
#: Nothing that Redis itself lets expire does so within a test.
KEEP_US = 3600 * SECOND_US
RETENTION_US = 20 * SECOND_US

IDS = tuple("abcdef")
QUEUES = ("p", "q")
DEAD_QUEUES = ("dead", "-")
RETRIES = (None, Retry(0, 1, 0, 0), Retry(2 * SECOND_US, 3, 10 * SECOND_US, 0))
LENGTHS_US = (1, SECOND_US, 5 * SECOND_US, 10 * SECOND_US)

ids = st.sampled_from(IDS)
# Few of everything, so that steps meet.
kinds = st.sampled_from((Kind.TASK, Kind.TASK, Kind.TASK, Kind.DATA))
queues = st.sampled_from(QUEUES)
queue_lists = st.lists(st.sampled_from(QUEUES), max_size=3).map(tuple)
specs = st.builds(
    Spec,
    kinds,
    st.sampled_from(QUEUES),
    st.integers(1, 4),
    st.sampled_from((5 * SECOND_US, *LENGTHS_US, 0)),
    st.sampled_from(RETRIES),
    st.sampled_from((None, *DEAD_QUEUES)),
    st.sampled_from((0, KEEP_US)),
    st.sampled_from((DEFAULT_MAX_CRASHES, 1)),
    st.just(""),
    st.booleans(),
    st.sampled_from((0, SECOND_US)),
    st.sampled_from((0, 0, *LENGTHS_US)),
)
dues = st.sampled_from(
    ("", "", "+0", *(f"+{length}" for length in LENGTHS_US), f"@{BEGIN_US}", f"@{BEGIN_US + 20 * SECOND_US}")
)
new_items = st.builds(
    lambda id, spec, due, conflict, body: NewItem(id, spec.encode(), due, conflict.value, body),
    ids,
    specs,
    dues,
    st.sampled_from(Conflict),
    st.binary(max_size=5),
)
tokens_of = st.sampled_from(("right", "right", "right", "wrong", "unfenced"))
delays = st.sampled_from((None, None, 0, *LENGTHS_US))
errors = st.sampled_from(("", "broken", "Ärger\0\n"))
