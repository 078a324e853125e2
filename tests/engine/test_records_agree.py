"""Lua decides what can be read; whatever it lets through, Python reads too, or one item would spoil a whole batch."""

from __future__ import annotations

from importlib import resources

import pytest
import redis

from dibs.broker.engine.types import decode_spec

RECORDS = (resources.files("dibs.broker.engine") / "lua" / "include" / "records.lua").read_text()

ODD = [
    b"t q 3 1000 - - - - : 0",
    b"t q 3 1000 1e3 2 5e3 0.1 : 0",
    b"t q 3 1000 1000 1e+06 5000 0 : 0 v=1 word x=y=z crashes=",
    b"t q\xff 3 1000 - - - - \xfe 0 \xff=1",
    b"t q 3 1000 - - - - : 0  crashes=4  ",
    b"t q 99999999999999999999 1000 - - - - : 99999999999999999999",
    b"t q 3 1000 1000 2 0x10 0.1 : 0",
    b"t q 3 1000 1e400 2 5000 0.1 : 0",
    b"t q 3 1000 nan 2 5000 5 : 0",
    b"t q 3 1000 1000 2 5000 0.1 : 1.5",
    b"t q 3 1000 - - - - : 0 v=x",
]


@pytest.mark.parametrize("spec", ODD)
def test_a_spec_that_lua_reads_python_reads(raw: redis.Redis, spec: bytes) -> None:
    if raw.eval(RECORDS + "\nreturn spec_of(ARGV[1]) and 1 or 0", 1, "prefix:", spec):
        decode_spec(spec)


@pytest.mark.parametrize("spec", [b"", b"t q", b"x q 3 1000 - - - - : 0", b"t q 3 1000 - - - - : 0 v=2", b"\x00\xff"])
def test_a_spec_of_another_version_or_none_is_not_read(raw: redis.Redis, spec: bytes) -> None:
    assert raw.eval(RECORDS + "\nreturn spec_of(ARGV[1]) and 1 or 0", 1, "prefix:", spec) == 0
