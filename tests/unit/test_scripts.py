"""The Lua scripts are put together from their parts."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from dibs.broker.engine.scripts import assemble, names

LUA = resources.files("dibs.broker.engine") / "lua"
NAMES = names()
PARTS = sorted(entry.name.removesuffix(".lua") for entry in (LUA / "include").iterdir())
INCLUDE = re.compile(r"^--- @include (\w+)\n", re.MULTILINE)
#: What Lua and Redis give a script; anything else must be a local.
GLOBALS = {
    "ARGV",
    "KEYS",
    "cjson",
    "cmsgpack",
    "error",
    "ipairs",
    "math",
    "next",
    "pairs",
    "pcall",
    "redis",
    "select",
    "string",
}
GLOBALS |= {"struct", "table", "tonumber", "tostring", "type", "unpack"}


def included(text: str) -> set[str]:
    """The parts that a text includes, and what those include."""
    found: set[str] = set()
    pending = INCLUDE.findall(text)
    while pending:
        part = pending.pop()
        if part not in found:
            found.add(part)
            pending += INCLUDE.findall((LUA / "include" / f"{part}.lua").read_text())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_part_is_put_in_once(name: str) -> None:
    source = assemble(name, full="flag")
    assert "@include" not in source
    for part in included((LUA / f"{name}.lua").read_text()):
        assert source.count(INCLUDE.sub("", (LUA / "include" / f"{part}.lua").read_text())) == 1


def test_every_part_is_included_somewhere() -> None:
    somewhere = {part for name in NAMES for part in included((LUA / f"{name}.lua").read_text())}
    assert somewhere | {"clock_shifted"} == set(PARTS)


@pytest.fixture(scope="session")
def luac() -> str:
    """The compiler of the Lua that Redis has, which lists what a script does."""
    found = shutil.which("luac5.1")
    if found is None:
        pytest.skip("no luac5.1 on this machine")
    return found


def globals_of(luac: str, source: str, folder: Path) -> set[str]:
    """Names that a script reads or sets and that are no locals."""
    script = folder / "script.lua"
    script.write_text(source)
    listing = subprocess.run([luac, "-l", "-p", script], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"[GS]ETGLOBAL\s+\S+\s+\S+\s+; (\w+)", listing))


@pytest.mark.parametrize("name", NAMES)
def test_a_script_knows_every_name_that_it_uses(name: str, luac: str, tmp_path: Path) -> None:
    assert globals_of(luac, assemble(name, full="write"), tmp_path) <= GLOBALS


@pytest.mark.parametrize("part", PARTS)
def test_a_part_includes_what_it_uses(part: str, luac: str, tmp_path: Path) -> None:
    alone = f"--- @include {part}\n"
    whole = "".join(INCLUDE.sub("", (LUA / "include" / f"{one}.lua").read_text()) for one in in_order(alone))
    assert globals_of(luac, whole, tmp_path) <= GLOBALS


def in_order(text: str) -> list[str]:
    """What a text includes, each part after those that it includes itself."""
    found: list[str] = []
    for part in INCLUDE.findall(text):
        for one in (*in_order((LUA / "include" / f"{part}.lua").read_text()), part):
            if one not in found:
                found.append(one)
    return found


@pytest.mark.parametrize("name", [*NAMES, *(f"include/{part}" for part in PARTS)])
def test_nothing_sets_a_local_of_a_part(name: str) -> None:
    text = (LUA / f"{name}.lua").read_text()
    theirs = {
        local
        for part in included(text)
        for names in re.findall(
            r"^local (?!function)([\w, ]+?)(?: =|$)", (LUA / "include" / f"{part}.lua").read_text(), re.M
        )
        for local in names.split(", ")
    }
    own = {local for names in re.findall(r"\blocal ([\w, ]+?)(?: =| in|$)", text, re.M) for local in names.split(", ")}
    assert set(re.findall(r"^ *(\w+) = ", text, re.M)) & (theirs - own) == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_script_opens_with_what_it_does_its_keys_arguments_reply_and_cost(name: str) -> None:
    header = (LUA / f"{name}.lua").read_text().split("--- @include")[0]
    for word in ("-- KEYS[1]", "-- ARGV", "-- Reply", "-- Cost"):
        assert word in header


def test_a_test_can_take_another_clock() -> None:
    ordinary, shifted = assemble("lease", full="flag"), assemble("lease", full="flag", clock="clock_shifted")
    assert "'frozen'" not in ordinary
    assert "'frozen'" in shifted


def test_redis_7_is_told_in_the_first_line_that_memory_may_be_full() -> None:
    assert assemble("ack", full="flag").startswith("#!lua flags=allow-oom\n")


def test_redis_6_is_told_by_a_write_that_needs_no_memory() -> None:
    assert assemble("ack", full="write").startswith("redis.call('UNLINK'")


def test_other_scripts_are_refused_while_memory_is_full() -> None:
    assert assemble("enqueue", full="flag").startswith("-- Puts items")
