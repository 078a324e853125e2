"""Items that are put together from bytes are those that the message classes make."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dibs.rpc.encoding import ItemForm
from dibs.rpc.ids import Ids
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

lengths = st.sampled_from([0, 1, 126, 127, 128, 129, 16_380, 16_383, 16_384, 70_000, 300_000])
policies = st.builds(
    tpb.DeliveryPolicy, attempts=st.integers(0, 2**31 - 1), use_dead_letter=st.booleans(), dead_letter_queue=st.text()
)


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=300), lengths, policies, st.booleans())
def test_an_entry_is_what_the_message_class_encodes(
    id: str, queue: str, name: str, length: int, policy: tpb.DeliveryPolicy, delayed: bool
) -> None:
    item = pb.EnqueueItem(queue=queue, kind=tpb.QUEUE_KIND_TASK, content=tpb.Content(task_name=name), policy=policy)
    item.content.headers["a"] = "b"
    if delayed:
        item.delay.FromMilliseconds(1500)
    payload = b"x" * length

    made = pb.EnqueueRequest.FromString(ItemForm(item).entry(id, payload))

    item.id = id
    item.content.payload = payload
    assert made == pb.EnqueueRequest(items=[item])


def test_entries_are_joined_to_a_request() -> None:
    form = ItemForm(pb.EnqueueItem(queue="q"))

    request = pb.EnqueueRequest.FromString(form.entry("a", b"1") + form.entry("b", b""))

    assert [(item.id, item.content.payload) for item in request.items] == [("a", b"1"), ("b", b"")]


def test_new_ids_are_all_different() -> None:
    ids = Ids()
    made = [ids.new() for _ in range(2_500)]

    assert len(set(made)) == 2_500
    assert {len(id) for id in made} == {32}


def test_ids_made_in_advance_can_be_forgotten() -> None:
    ids = Ids()
    ids.new()
    pool = ids._pool
    ids.forget()

    assert ids.new() not in pool
