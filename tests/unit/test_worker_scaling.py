"""How many processes a worker has, by the work that waits."""

from __future__ import annotations

import pytest

from dibs.worker.connector.scaling import Scale, more

SCALE = Scale(1, 8)


@pytest.mark.parametrize("text", ["", "4", "1:", ":4", "a:b", "1:2:3", "-1:4", "1.5:2", "0:4", "5:4", "1:1001"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"MIN:MAX|processes must be"):
        Scale.of(text)


def test_a_range_is_read() -> None:
    assert Scale.of("2:16") == Scale(2, 16)


@pytest.mark.parametrize(
    ("size", "waiting", "slots", "wanted"),
    [
        (1, 0, 4, 1),
        (1, 1, 4, 2),
        (1, 4, 4, 2),
        (2, 5, 4, 4),  # 2 more for 5 items of which 4 fit into one
        (2, 1_000, 1, 4),  # twice as many at most
        (5, 1_000, 1, 8),  # and no more than may be
        (8, 1_000, 1, 8),
    ],
)
def test_there_are_as_many_more_as_the_waiting_items_fill(size: int, waiting: int, slots: int, wanted: int) -> None:
    assert more(size, waiting, slots, SCALE) == wanted
