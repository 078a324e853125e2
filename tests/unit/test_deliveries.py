"""The bytes that deliveries are put together from are those that the message classes make."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dibs.broker.engine.types import Kind, Leased, Retry, Spec
from dibs.broker.messages.deliveries import lease_response, work_response
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

SPECS = st.builds(
    Spec,
    st.just(Kind.TASK),
    st.sampled_from(["q", "q" * 128]),
    st.integers(1, 1_000_000),
    st.sampled_from([0, 1_000, 2_592_000_000_000]),
    st.sampled_from([None, Retry(0, 1.0, 0, 0.0), Retry(1_500_000, 2.0, 60_000_000, 0.25)]),
    st.none(),
    st.sampled_from([0, 3_600_000_000]),
    st.just(3),
    st.just(""),
    st.booleans(),
    st.sampled_from([0, 1_500_000]),
)
CONTENTS = st.builds(
    tpb.Content,
    task_name=st.sampled_from(["", "t", "t" * 256]),
    payload=st.one_of(st.binary(max_size=300), st.sampled_from([b"\n", b"x" * 127, b"x" * 16_384, b"x" * 262_144])),
    headers=st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=2),
)


@st.composite
def leased(draw: st.DrawFn) -> tuple[Leased, tpb.Delivery]:
    """An item and the delivery that it makes."""
    spec, content = draw(SPECS), draw(CONTENTS)
    id = draw(st.sampled_from(["i", "i" * 32, "i" * 128]))
    token = draw(st.one_of(st.integers(0, 2**15), st.integers(0, 2**63 - 1)))
    attempt = draw(st.integers(1, 1_000_000))
    error = draw(st.sampled_from(["", "ö" * 200]))
    enqueued, due = draw(st.integers(0, 2**51)), draw(st.integers(0, 2**51))
    record = f"{enqueued} {due} {spec.encode()}\n".encode() + content.SerializeToString()
    delivery = tpb.Delivery(
        id=id,
        lease_token=token,
        content=content,
        queue=spec.queue,
        attempt=attempt,
        attempts=spec.attempts,
        last_error=error,
        keep_result=spec.keep_us > 0,
        renew=spec.renew and spec.lease_us > 0,
    )
    delivery.lease_timeout.FromMicroseconds(spec.lease_us)
    if spec.limit_us:
        delivery.run_timeout.FromMicroseconds(spec.limit_us)
    delivery.enqueue_time.FromMicroseconds(enqueued)
    delivery.schedule_time.FromMicroseconds(due)
    if spec.retry is not None:
        retry = delivery.retry
        retry.initial_delay.FromMicroseconds(spec.retry.initial_us)
        retry.max_delay.FromMicroseconds(spec.retry.max_us)
        retry.multiplier, retry.jitter = spec.retry.factor, spec.retry.jitter
    return Leased(id, token, attempt, spec.attempts, spec.lease_us, error, record), delivery


@given(st.lists(leased(), max_size=4))
def test_deliveries_are_what_the_message_classes_make(pairs: list[tuple[Leased, tpb.Delivery]]) -> None:
    items = [item for item, _ in pairs]
    expected = [delivery for _, delivery in pairs]
    down = pb.WorkResponse.FromString(work_response(pb.WorkResponse(batch=7), items))
    assert down == pb.WorkResponse(batch=7, deliveries=expected)
    assert list(pb.LeaseResponse.FromString(lease_response(items, 1)).deliveries) == expected
