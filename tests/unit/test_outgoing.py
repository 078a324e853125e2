"""What waits to be written down a Work stream, and what goes back if it breaks."""

from __future__ import annotations

from dibs.broker.calls.outgoing import Outgoing
from dibs.broker.engine.engine import MAX_BATCH
from dibs.broker.engine.types import Leased

ROOM = 3 * 1024 * 1024
#: Bytes of a record of which three fit, with what an item takes beside it.
THIRD = ROOM // 3 - 257


def leased(id: str, size: int = 10, *, error: str = "", lease_us: int = 1, token: int = 7) -> Leased:
    return Leased(id, token, 1, 3, lease_us, error, b"x" * size)


def written(outgoing: Outgoing) -> list[list[str]]:
    """Ids of everything that waits, by message."""
    messages = []
    while outgoing:
        messages.append([item.id for item in outgoing.take_batch()])
    return messages


def test_what_has_gathered_goes_in_one_message() -> None:
    outgoing = Outgoing(100, ROOM)
    outgoing.add([leased("a")], 1)
    outgoing.add([leased("b"), leased("c")], 1)
    assert written(outgoing) == [["a", "b", "c"]]
    assert outgoing.batch == 1


def test_a_message_has_a_thousand_items_at_most_and_whole_shares() -> None:
    outgoing = Outgoing(10_000, ROOM)
    for share in ("a", "b", "c"):
        outgoing.add([leased(f"{share}{n}") for n in range(400)], 1)
    outgoing.add([leased(f"d{n}") for n in range(MAX_BATCH)], 1)
    assert [(len(message), message[-1]) for message in written(outgoing)] == [
        (800, "b399"),
        (400, "c399"),
        (MAX_BATCH, "d999"),
    ]


def test_a_message_has_about_three_mebibytes_at_most_with_error_texts() -> None:
    outgoing = Outgoing(100, ROOM)
    outgoing.add([leased("a", THIRD), leased("b", THIRD)], 1)
    outgoing.add([leased("c", THIRD)], 1)
    outgoing.add([leased("d", 9)], 1)
    outgoing.add([leased("huge", 2 * ROOM)], 1)
    outgoing.add([leased("e", THIRD, error="€" * (THIRD // 3))], 1)
    outgoing.add([leased("f", 2 * THIRD)], 1)
    assert written(outgoing) == [["a", "b", "c"], ["d"], ["huge"], ["e"], ["f"]]


def test_it_is_full_until_enough_was_written() -> None:
    outgoing = Outgoing(100, ROOM)
    assert not outgoing.full
    outgoing.add([leased("a", 2 * THIRD)], 1)
    outgoing.add([leased("b", 2 * THIRD)], 1)
    assert outgoing.full
    outgoing.take_batch()
    assert not outgoing.full
    outgoing.add([leased("c", 2 * THIRD)], 1)
    assert outgoing.full
    assert [item.id for item in outgoing.take_unwritten()] == ["b", "c"]
    assert not outgoing.full
    assert not outgoing


def test_a_receipt_of_a_batch_is_one_of_each_share_in_it_and_before_it() -> None:
    outgoing = Outgoing(100, ROOM)
    outgoing.add([leased("a", token=1), leased("b", token=1)], 1)
    outgoing.add([leased("c", token=2)], 1)
    outgoing.take_batch()
    outgoing.add([leased("once", token=3, lease_us=0), leased("d", token=4)], 1)
    outgoing.take_batch()
    outgoing.add([leased("e", token=5)], 1)
    assert outgoing.received(2) == {1, 2, 4}
    assert outgoing.received(3) == set()


def test_what_was_written_goes_back_until_it_is_received() -> None:
    outgoing = Outgoing(100, ROOM)
    for id in "abc":
        outgoing.add([leased(id)], 1)
        outgoing.take_batch()
    outgoing.received(1)
    assert outgoing.unreceived() == [("b", 7), ("c", 7)]
    outgoing.received(3)
    assert outgoing.unreceived() == []


def test_what_may_have_been_received_and_is_delivered_at_most_once_does_not_go_back() -> None:
    outgoing = Outgoing(100, ROOM)
    outgoing.add([leased("once", lease_us=0), leased("again")], 1)
    outgoing.take_batch()
    assert outgoing.unreceived() == [("again", 7)]


def test_of_what_never_goes_back_nothing_is_remembered() -> None:
    outgoing = Outgoing(3, ROOM)
    for n in range(10):
        outgoing.add([leased(f"{n}", lease_us=0)], 1)
        outgoing.take_batch()
    assert len(outgoing._unreceived) == 0


def test_of_a_worker_without_receipts_only_the_newest_goes_back() -> None:
    outgoing = Outgoing(3, ROOM)
    for n in range(10):
        outgoing.add([leased(f"{n}")], 1)
        outgoing.take_batch()
    assert [id for id, _ in outgoing.unreceived()] == ["7", "8", "9"]


def test_a_batch_is_as_old_as_the_oldest_lease_in_it() -> None:
    outgoing = Outgoing(10, ROOM)
    outgoing.add([leased("a")], 1_000)
    outgoing.add([leased("b")], 2_000)
    assert len(outgoing.take_batch()) == 2
    assert outgoing.leased_at_us == 1_000
