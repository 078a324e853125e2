"""Answers to leases that nobody waits for any more."""

from __future__ import annotations

import asyncio

import pytest

from dibs.broker.engine.errors import LateCall, NotSent, Unavailable
from dibs.broker.engine.types import Kind, Leased, LeaseQuery
from dibs.broker.leasing import orphans as module
from dibs.broker.leasing.callers import Caller, Callers
from dibs.broker.leasing.orphans import Orphans
from dibs.broker.leasing.returns import Returns

from .test_callers import FakeEngine, callers_of

QUERY = LeaseQuery(Kind.TASK)
ITEM = Leased("a", 7, 1, 1, 1, "", b"")


class Back(Returns):
    """Remembers what was to go back."""

    def __init__(self) -> None:
        self.items: list[tuple[str, str]] = []

    def unseen(self, namespace: str, items: object, *, delay_us: int = 0) -> None:
        assert isinstance(items, list)
        self.items += [(namespace, item.id) for item in items]


async def in_doubt(fake: FakeEngine, callers: Callers) -> Caller:
    """A caller whose answer got lost."""
    caller = callers.take("ns")
    fake.fails_with(Unavailable("no answer"))
    with pytest.raises(Unavailable):
        await caller.lease(QUERY, (5,))
    return caller


async def test_the_answer_is_asked_for_until_it_comes_and_goes_back(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeEngine()
    callers, back = callers_of(fake), Back()
    orphans = Orphans(callers, back)
    caller = await in_doubt(fake, callers)
    orphans.part(caller, QUERY)
    async with asyncio.timeout(5):
        while len(fake.calls) < 4:  # noqa: ASYNC110 - the pauses between them are what is waited for
            await asyncio.sleep(0.01)
    assert back.items == []
    fake.answers(ITEM)
    await orphans.close(5)
    assert back.items == [("ns", "a")]
    # Always the first number, and after that nothing but its answer is wanted.
    assert set(fake.sequences) == {1}
    assert set(fake.wanted[1:]) == {0}
    assert caplog.text.count("answers to leases are out") == 1
    assert callers.take("ns") is caller


async def test_who_has_no_answer_out_is_lent_again_at_once() -> None:
    fake = FakeEngine()
    callers = callers_of(fake)
    orphans = Orphans(callers, Back())
    caller = callers.take("ns")
    orphans.part(caller, QUERY)
    assert callers.take("ns") is caller
    assert fake.calls == []


async def test_a_call_that_was_never_carried_out_has_no_answer() -> None:
    fake = FakeEngine()
    callers, back = callers_of(fake), Back()
    orphans = Orphans(callers, back)
    caller = await in_doubt(fake, callers)
    fake.fails_with(LateCall("late"))
    orphans.part(caller, QUERY)
    await orphans.close(5)
    assert back.items == []
    assert callers.take("ns") is caller


async def test_while_too_many_answers_are_out_nothing_new_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    fake = FakeEngine()
    callers = callers_of(fake)
    orphans = Orphans(callers, Back())
    for _ in range(2):
        orphans.check_room()
        orphans.part(await in_doubt(fake, callers), QUERY)
    with pytest.raises(NotSent, match="2 answers"):
        orphans.check_room()
    fake.answers()
    await orphans.close(5)
    orphans.check_room()


async def test_the_end_gives_up_in_time_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeEngine()
    callers = callers_of(fake)
    orphans = Orphans(callers, Back())
    orphans.part(await in_doubt(fake, callers), QUERY)
    async with asyncio.timeout(5):
        await orphans.close(0.1)
    assert "Redis did not answer 1 lease calls" in caplog.text
