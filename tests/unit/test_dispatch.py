"""What a broker keeps of streams that it does not serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from dibs.broker.border.errors import Busy
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Kind, Leased, LeaseQuery
from dibs.broker.leasing.dispatch import Dispatch


class Nobody:
    """Takes nothing."""

    credit = 0

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        raise AssertionError(items)

    def note_unknown(self, names: Sequence[str]) -> None:
        raise AssertionError(names)


def test_of_streams_that_would_wait_for_too_much_nothing_is_kept() -> None:
    dispatch = Dispatch(cast(Engine, None), most_waiting=1)
    for number in range(3):
        wanted = LeaseQuery(Kind.TASK, (f"a{number}", f"b{number}"))
        with pytest.raises(Busy), dispatch.serve("ns", wanted, Nobody(), ["task"]):
            pass

    assert not dispatch._groups
    # Else others who want the same would be taken to be there, and memory would grow with each refusal.
    assert not dispatch._alike
