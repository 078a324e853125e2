"""The Lua scripts are put together from their parts."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from dibs.broker.engine.scripts import assemble

LUA = resources.files("dibs.broker.engine") / "lua"
NAMES = sorted(entry.name.removesuffix(".lua") for entry in LUA.iterdir() if entry.name.endswith(".lua"))
PARTS = sorted(entry.name.removesuffix(".lua") for entry in (LUA / "include").iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_every_include_is_put_in(name: str) -> None:
    source = assemble(name, allow_oom="")
    assert "@include" not in source
    for part in re.findall(r"@include (\w+)", (LUA / f"{name}.lua").read_text()):
        assert (LUA / "include" / f"{part}.lua").read_text() in source


def test_every_part_is_included_somewhere() -> None:
    included = {part for name in NAMES for part in re.findall(r"@include (\w+)", (LUA / f"{name}.lua").read_text())}
    assert included | {"clock_shifted"} == set(PARTS)


@pytest.mark.parametrize("name", NAMES)
def test_every_script_opens_with_what_it_does_its_keys_arguments_reply_and_cost(name: str) -> None:
    header = (LUA / f"{name}.lua").read_text().split("--- @include")[0]
    for word in ("-- KEYS[1]", "-- ARGV", "-- Reply", "-- Cost"):
        assert word in header


def test_a_test_can_take_another_clock() -> None:
    ordinary, shifted = assemble("lease", allow_oom=""), assemble("lease", allow_oom="", clock="clock_shifted")
    assert "'frozen'" not in ordinary
    assert "'frozen'" in shifted


def test_redis_7_is_told_in_the_first_line_that_memory_may_be_full() -> None:
    assert assemble("ack", allow_oom="flag").startswith("#!lua flags=allow-oom\n")


def test_redis_6_is_told_by_a_write_that_needs_no_memory() -> None:
    assert assemble("ack", allow_oom="write").startswith("redis.call('UNLINK'")


def test_other_scripts_are_refused_while_memory_is_full() -> None:
    assert assemble("enqueue", allow_oom="").startswith("-- Puts items")
