"""How the items of one lease are dealt out to those who share it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from dibs.broker.engine.engine import MAX_BATCH, Engine
from dibs.broker.engine.types import Kind, Leased, LeaseQuery
from dibs.broker.leasing.callers import Callers
from dibs.broker.leasing.groups import Group, by_size, by_token
from dibs.broker.leasing.orphans import Orphans
from dibs.broker.leasing.returns import Returns
from dibs.contract.standing import Standing


class Taker:
    """Takes as many items as it has credit."""

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.got: list[Leased] = []

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        assert len(items) <= self.credit
        self.credit -= len(items)
        self.got += items

    def note_unknown(self, names: Sequence[str]) -> None:
        raise AssertionError(names)


def group_of(*takers: Taker) -> Group:
    engine = cast(Engine, None)
    returns = Returns(engine)
    callers = Callers(engine)
    failing = Standing(logging.getLogger("dibs.test"), "over")
    group = Group(engine, callers, Orphans(callers, returns), returns, "ns", LeaseQuery(Kind.TASK), None, failing)
    group.consumers.update(dict.fromkeys(takers))
    return group


def leased(number: int, token: int) -> Leased:
    return Leased(f"i{number}", token, 1, 1, 1, "", b"")


def answer(shares: Sequence[int], kept: Sequence[bool]) -> list[Leased]:
    """What Redis leases for these shares: a token for each, but none for items of which nothing is kept."""
    found: list[Leased] = []
    for token, size in enumerate(shares, 1):
        found += [leased(len(found) + n, token if kept[(len(found) + n) % len(kept)] else 0) for n in range(size)]
    return found


def each_token_once(takers: Sequence[Taker]) -> bool:
    tokens = [{item.token for item in taker.got} - {0} for taker in takers]
    return sum(map(len, tokens)) == len(set().union(*tokens))


CREDITS = st.lists(st.integers(-2, 6), min_size=1, max_size=6)
KEPT = st.lists(st.booleans(), min_size=1, max_size=4)


@given(CREDITS, KEPT, st.integers(0, 36))
def test_an_answer_is_dealt_out_as_it_was_asked_for(credits: list[int], kept: list[bool], missing: int) -> None:
    takers = [Taker(credit) for credit in credits]
    group = group_of(*takers)
    shares = group._shares()
    items = answer(shares, kept)
    items = items[: max(len(items) - missing, 0)]
    left = group._deal(by_size(items, shares), 1)
    assert left == []
    assert [item for taker in takers for item in taker.got] == items
    assert each_token_once(takers)


@given(CREDITS, CREDITS, KEPT, st.booleans())
def test_nothing_is_lost_or_shared_whatever_credit_is_left(
    before: list[int], after: list[int], kept: list[bool], repeated: bool
) -> None:
    shares = [credit for credit in before if credit > 0]
    items = answer(shares, kept)
    takers = [Taker(credit) for credit in after]
    group = group_of(*takers)
    asked = group._shares() if repeated else shares
    left = group._deal(by_token(items, asked) if repeated else by_size(items, asked), 1)
    assert sorted([item for taker in takers for item in taker.got] + left) == sorted(items)
    assert each_token_once(takers) or len(asked) == 1
    assert all(taker.credit >= 0 or not taker.got for taker in takers)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_no_more_is_asked_for_than_one_call_takes(credits: list[int]) -> None:
    group = group_of(*map(Taker, credits))
    assert sum(group._shares()) == min(sum(credits), MAX_BATCH)


def test_who_was_served_goes_to_the_end_of_the_line() -> None:
    first, second = Taker(2), Taker(1)
    group = group_of(first, second)
    group._deal(by_size([leased(1, 1)], [2, 1]), 1)
    assert list(group.consumers) == [second, first]


def test_an_answer_of_an_earlier_try_goes_by_its_tokens() -> None:
    takers = [Taker(2), Taker(3)]
    items = [leased(0, 0), leased(1, 9), leased(2, 8), leased(3, 9), leased(4, 9)]
    assert group_of(*takers)._deal(by_token(items, [2, 3]), 1) == []
    assert [[item.id for item in taker.got] for taker in takers] == [["i2", "i0"], ["i1", "i3", "i4"]]


def test_with_nobody_left_everything_goes_back() -> None:
    items = [leased(0, 0), leased(1, 9)]
    assert group_of()._deal(by_size(items, [2]), 1) == items
    assert sorted(group_of()._deal(by_token(items, []), 1)) == items
