"""Text of others on a terminal, in a log and in JSON."""

from __future__ import annotations

import json

import pytest

from dibs.contract.texts import json_text, one_line, plain

UNSAFE = [
    *map(chr, (*range(0x09), 0x0B, 0x0C, *range(0x0D, 0x20), *range(0x7F, 0xA0))),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "\ud800",
    "\udfff",
]


@pytest.mark.parametrize("char", UNSAFE, ids=ascii)
def test_what_is_unsafe_is_shown_as_its_escape(char: str) -> None:
    shown = plain(f"a{char}b")
    assert shown == "a" + ascii(char)[1:-1].replace("\\r", "\\x0d") + "b"
    assert plain(shown) == shown
    shown.encode()


@pytest.mark.parametrize("char", UNSAFE, ids=ascii)
def test_json_stands_in_safe_characters_and_reads_back_as_it_was(char: str) -> None:
    value = {f"k{char}": [f"a{char}b", {char: char}]}
    for written in (json_text(value), json_text(value, indent=2)):
        assert char not in written
        assert json.loads(written) == value


def test_what_people_write_stays() -> None:
    text = "Grüße, 世界 🎉 שלום\n\tnext [red] \\x1b"
    assert plain(text) == text
    assert json.loads(json_text(text)) == text
    assert "Grüße, 世界 🎉 שלום" in json_text(text)


def test_a_long_text_is_cut_off_and_an_escape_counts_as_long_as_it_is() -> None:
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcd", 4) == "abcd"
    assert plain("a\x1b\x1b", 4) == "a\\x…"
    assert one_line("two\n lines\u2028\r\nand\tmore") == "two lines and more"
