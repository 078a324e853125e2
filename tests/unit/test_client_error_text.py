"""Error texts fit into a message, whatever is in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dibs.contract import error_text
from dibs.contract.error_text import MAX_ERROR_BYTES


@pytest.mark.parametrize("clip", [error_text.beginning, error_text.end])
@pytest.mark.parametrize("error", ["", "short", "é" * (MAX_ERROR_BYTES // 2)])
def test_what_fits_stays_as_it_is(clip: Callable[[str], str], error: str) -> None:
    assert clip(error) == error


@pytest.mark.parametrize("clip", [error_text.beginning, error_text.end])
def test_what_cannot_be_encoded_is_shown(clip: Callable[[str], str]) -> None:
    assert clip("lone \ud800") == "lone \\ud800"


@pytest.mark.parametrize("filler", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("shift", range(4))
def test_a_long_text_is_cut_between_characters(filler: str, shift: int) -> None:
    long = "the" + "." * shift + filler * MAX_ERROR_BYTES + "." * shift + "reason"
    beginning, end = error_text.beginning(long), error_text.end(long)
    assert beginning.startswith("the")
    assert beginning.endswith(f"{filler} ...")
    assert end.startswith(f"... {filler}")
    assert end.endswith("reason")
    for text in (beginning, end):
        assert MAX_ERROR_BYTES - 4 < len(text.encode()) <= MAX_ERROR_BYTES
