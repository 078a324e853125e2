"""Deficit round robin over namespaces."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from dibs.broker.engine.turns import BASE, QUANTUM, WINDOW, Costs, Turns


def served(turns: Turns[str], under_way: int) -> Iterator[str]:
    """Ends what is under way, and from then on each call as soon as it has gone; answers them in their order."""
    turns.ended(under_way)
    while (turn := turns.next()) is not None:
        cost, call = turn
        yield call
        turns.ended(cost)


def test_calls_go_at_once_until_enough_is_under_way() -> None:
    turns: Turns[str] = Turns()

    went = 0
    while turns.goes(100):
        went += 1

    assert went * 100 >= WINDOW > (went - 1) * 100


def test_nothing_goes_at_once_past_what_waits() -> None:
    turns: Turns[str] = Turns()
    assert turns.goes(WINDOW)
    turns.line_up("a", 10, "first")
    turns.ended(WINDOW)

    assert not turns.goes(10)

    assert turns.next() == (10, "first")
    assert turns.goes(10)


def test_one_tenant_alone_is_served_in_the_order_of_its_calls() -> None:
    turns: Turns[str] = Turns()
    assert turns.goes(WINDOW)
    for n in range(100):
        turns.line_up("a", 1 + n * 37 % 5000, f"{n}")

    assert list(served(turns, WINDOW)) == [f"{n}" for n in range(100)]


def test_a_call_does_not_wait_for_the_line_of_another_tenant() -> None:
    turns: Turns[str] = Turns()
    assert turns.goes(WINDOW)
    for n in range(10_000):
        turns.line_up("greedy", 50, f"greedy {n}")
    turns.line_up("quiet", 50, "quiet")

    order = list(served(turns, WINDOW))

    assert order.index("quiet") * 50 <= QUANTUM + 50
    assert len(order) == 10_001


def test_turns_are_by_cost_and_not_by_calls() -> None:
    turns: Turns[str] = Turns()
    assert turns.goes(WINDOW)
    for _ in range(1000):
        turns.line_up("large", 2000, "large")
        turns.line_up("small", 100, "small")

    order = list(served(turns, WINDOW))

    # As long as both wait each has half: twenty small ones for a large one.
    first = order[:210]
    assert 8 <= first.count("large") <= 12


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 8000)), max_size=60),
    st.lists(st.integers(0, 5), max_size=60),
)
def test_every_call_goes_once_in_the_order_of_its_tenant(calls: list[tuple[str, int]], ends: list[int]) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    under_way: list[int] = []
    went: list[tuple[str, int]] = []
    for n, (tenant, cost) in enumerate(calls):
        if turns.goes(cost):
            under_way.append(cost)
            went.append((tenant, n))
        else:
            turns.line_up(tenant, cost, (tenant, n))
        for _ in range(ends[n] if n < len(ends) else 0):
            if under_way:
                turns.ended(under_way.pop(0))
            while (turn := turns.next()) is not None:
                under_way.append(turn[0])
                went.append(turn[1])
    while under_way or len(turns):
        turns.ended(under_way.pop(0))
        while (turn := turns.next()) is not None:
            under_way.append(turn[0])
            went.append(turn[1])

    assert sorted(n for _, n in went) == list(range(len(calls)))
    for tenant in "abc":
        own = [n for whose, n in went if whose == tenant]
        assert own == sorted(own)


def test_a_lease_of_a_thousand_names_costs_more_than_one_of_one_name() -> None:
    costs = Costs()

    assert costs.of("lease", "a", ["x"] * 1025) == costs.of("lease", "a", ["x"] * 26) + 999


def test_a_call_costs_what_the_last_one_like_it_had_for_a_reply_and_less_only_step_by_step() -> None:
    costs = Costs()
    full = [5, 0, 7, [b"id"] * 1000, [b"record"] * 1000, [], [0]]
    empty = [5, 0, 7, [], [], [], [0]]

    costs.learn("lease", "a", full)

    assert costs.of("lease", "a", []) == BASE + 2001
    assert costs.of("lease", "b", []) == costs.of("ack", "a", []) == BASE
    costs.learn("lease", "a", empty)
    assert BASE + 900 < costs.of("lease", "a", []) < BASE + 1100
    for _ in range(20):
        costs.learn("lease", "a", empty)
    assert costs.of("lease", "a", []) <= BASE + 2
    costs.forget()
    assert costs.of("lease", "a", []) == BASE
