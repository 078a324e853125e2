"""Pauses between attempts that fail."""

from __future__ import annotations

import pytest

from dibs.contract.pauses import Pauses


@pytest.fixture(params=[0.5, 1.0])
def chance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """What chance makes of a pause, at its ends."""
    share: float = request.param
    monkeypatch.setattr("random.uniform", lambda low, high: {0.5: low, 1.0: high}[share])
    return share


def test_they_double_up_to_the_longest_and_begin_anew_after_a_success(chance: float) -> None:
    pauses = Pauses(0.1, 0.5)
    assert [pauses.next_s() for _ in range(5)] == [share * chance for share in (0.1, 0.2, 0.4, 0.5, 0.5)]
    pauses.reset()
    assert pauses.next_s() == 0.1 * chance


def test_what_failed_together_does_not_come_back_together() -> None:
    assert len({Pauses().next_s() for _ in range(100)}) > 90
