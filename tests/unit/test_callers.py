"""Lease calls have names: the same number until the answer has come, then the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import LateCall, NotSent, ScriptBug, Unavailable
from dibs.broker.engine.receipts import Receipts
from dibs.broker.engine.types import Kind, LeaseCall, Leased, LeaseQuery, LeaseReply
from dibs.broker.leasing.callers import Caller, Callers

QUERY = LeaseQuery(Kind.TASK)
ITEM = Leased("a", 7, 1, 1, 1, "", b"")
EMPTY = LeaseReply([], 5, drained=True)


async def nothing() -> LeaseReply:
    return EMPTY


class FakeEngine:
    """Remembers the calls; `answer` is what comes next.

    Attributes:
        told: what Redis was told beside of leases.
    """

    def __init__(self) -> None:
        self.calls: list[LeaseCall] = []
        self.wanted: list[int] = []
        self.told: list[tuple[str, Sequence[tuple[str, int]], Sequence[int]]] = []
        self.receipts = Receipts(self._tell)
        self.answer: Callable[[], Awaitable[LeaseReply]] = nothing

    def redis_now_us(self) -> int:
        return 1_000_000

    async def lease(
        self, namespace: str, query: LeaseQuery, max_items: int, *, note_hunger: bool, call: LeaseCall
    ) -> LeaseReply:
        self.calls.append(call)
        self.wanted.append(max_items)
        return await self.answer()

    async def _tell(self, namespace: str, answers: Sequence[tuple[str, int]], tokens: Sequence[int]) -> None:
        self.told.append((namespace, answers, tokens))

    def fails_with(self, error: Exception) -> None:
        async def fail() -> LeaseReply:
            raise error

        self.answer = fail

    def answers(self, *items: Leased) -> None:
        async def answer() -> LeaseReply:
            return LeaseReply(list(items), 5, drained=False)

        self.answer = answer

    @property
    def sequences(self) -> list[int]:
        return [call.sequence for call in self.calls]


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


def callers_of(fake: FakeEngine) -> Callers:
    return Callers(cast(Engine, fake))


async def failing(caller: Caller, error: type[Exception]) -> None:
    with pytest.raises(error):
        await caller.lease(QUERY, (3,))


async def test_each_call_has_the_callers_name_the_next_number_and_a_time(fake: FakeEngine) -> None:
    caller = callers_of(fake).take("ns")
    for shares in ((3,), (4, 5)):
        await caller.lease(QUERY, shares)
    assert fake.sequences == [1, 2]
    assert fake.wanted == [3, 9]
    assert len({call.caller for call in fake.calls}) == 1
    assert {call.not_after_us for call in fake.calls} == {61_000_000}


async def test_names_are_lent_to_one_at_a_time_and_differ_by_namespace_and_broker(fake: FakeEngine) -> None:
    callers = callers_of(fake)
    one, two, other = callers.take("ns"), callers.take("ns"), callers.take("other")
    stranger = callers_of(fake).take("ns")
    for caller in (one, two, other, stranger):
        await caller.lease(QUERY, (1,))
    assert len({call.caller for call in fake.calls}) == 4
    callers.release(other)
    callers.release(two)
    assert callers.take("ns") is two
    assert callers.take("other") is other


@pytest.mark.parametrize("error", [Unavailable("no answer"), RuntimeError("bug")])
async def test_after_an_answer_that_did_not_come_the_same_number_is_asked_again(
    fake: FakeEngine, error: Exception
) -> None:
    caller = callers_of(fake).take("ns")
    fake.fails_with(error)
    await failing(caller, type(error))
    assert caller.in_doubt
    # Not sent at all, or a fault of a script: what the first try did is as unknown as before.
    for later in (NotSent("refused"), ScriptBug("oops")):
        fake.fails_with(later)
        await failing(caller, type(later))
        assert caller.in_doubt
    fake.answers(ITEM)
    await caller.lease(QUERY, ())
    assert (caller.in_doubt, caller.repeated) == (False, True)
    await caller.lease(QUERY, (1,))
    assert not caller.repeated
    assert fake.sequences == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("error", [NotSent("refused"), LateCall("late"), ScriptBug("oops")])
async def test_what_was_surely_not_carried_out_is_not_in_doubt(fake: FakeEngine, error: Exception) -> None:
    caller = callers_of(fake).take("ns")
    fake.fails_with(error)
    await failing(caller, type(error))
    assert not caller.in_doubt
    fake.answer = nothing
    await caller.lease(QUERY, (1,))
    assert (fake.sequences, caller.repeated) == ([1, 2], False)


async def test_a_repetition_that_comes_too_late_settles_that_there_is_no_answer(fake: FakeEngine) -> None:
    caller = callers_of(fake).take("ns")
    for error in (Unavailable("no answer"), LateCall("late")):
        fake.fails_with(error)
        await failing(caller, type(error))
    assert not caller.in_doubt


async def test_who_does_not_wait_for_the_answer_leaves_it_in_doubt(fake: FakeEngine) -> None:
    caller = callers_of(fake).take("ns")
    asked = asyncio.Event()

    async def never() -> LeaseReply:
        asked.set()
        await asyncio.Event().wait()
        return EMPTY

    fake.answer = never
    asking = asyncio.create_task(caller.lease(QUERY, (1,)))
    await asked.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert caller.in_doubt


async def test_receipts_ride_on_the_call_and_stay_if_it_fails(fake: FakeEngine) -> None:
    caller = callers_of(fake).take("ns")
    fake.receipts.received("ns", [1, 2])
    fake.fails_with(Unavailable("no answer"))
    await failing(caller, Unavailable)
    fake.answer = nothing
    await caller.lease(QUERY, (1,))
    await caller.lease(QUERY, (1,))
    assert [list(call.receipts) for call in fake.calls] == [[1, 2], [1, 2], []]
    await fake.receipts.tell("ns")
    assert fake.told == []


async def test_that_an_answer_has_arrived_is_told_by_the_next_call_or_alone(fake: FakeEngine) -> None:
    caller = callers_of(fake).take("ns")
    fake.answers(ITEM)
    await caller.lease(QUERY, (1,))
    name = fake.calls[0].caller
    await fake.receipts.tell("ns")
    fake.answers(ITEM)
    await caller.lease(QUERY, (1,))
    fake.answer = nothing
    await caller.lease(QUERY, (1,))
    await fake.receipts.tell("ns")
    told: list[Any] = [("ns", [(name, 1)], ())]
    assert fake.told == told
