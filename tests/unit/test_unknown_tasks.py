"""Items of tasks that a worker does not know are told apart by what stands in their bodies."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibs.broker.calls.telling import NamesToTell
from dibs.broker.engine.types import Leased
from dibs.broker.leasing.unknown_tasks import Waits, sort
from dibs.broker.messages.bodies import task_name
from dibs.v1 import types_pb2 as tpb


def leased(id: str, name: str) -> Leased:
    body = tpb.Content(task_name=name, payload=b"{}", headers={"a": "b"}).SerializeToString()
    return Leased(id, 1, 1, 1, 0, "", b"1 2 spec\n" + body)


@given(st.text(max_size=20_000), st.binary(max_size=5))
def test_the_name_is_that_of_the_content(name: str, before: bytes) -> None:
    content = tpb.Content(task_name=name, payload=b"payload")
    assert task_name(before + content.SerializeToString(), len(before)).decode() == name


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 16383, 16384, 40_000])
def test_names_of_every_length(length: int) -> None:
    assert len(task_name(tpb.Content(task_name="n" * length).SerializeToString())) == length


def test_a_data_item_has_no_name() -> None:
    assert task_name(tpb.Content(payload=b"payload").SerializeToString()) == b""
    assert task_name(b"") == b""


def test_known_ones_pass_as_they_are() -> None:
    items = [leased("1", "a"), leased("2", "b")]
    known, others = sort(items, frozenset((b"a", b"b")))
    assert known is items
    assert others == {}


def test_unknown_ones_are_sorted_by_name() -> None:
    a, x, y = leased("1", "a"), leased("2", "x"), leased("3", "y")
    assert sort([x, a, y, x], frozenset((b"a",))) == ([a], {"x": [x, x], "y": [y]})


def test_waits_grow_by_name_and_round_up_to_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    waits = Waits()
    # Others of the same round wait no longer.
    assert [waits.next_us("x", elsewhere=False) for _ in range(2)] == [1_000_000, 1_000_000]
    found: list[int] = []
    for _ in range(5):
        now += 11
        found.append(waits.next_us("x", elsewhere=False))
    assert found == [2_000_000, 4_000_000, 8_000_000, 10_000_000, 10_000_000]
    assert waits.next_us("y", elsewhere=False) == 1_000_000


def test_what_another_worker_knows_waits_a_moment_only() -> None:
    assert Waits().next_us("x", elsewhere=True) == 200_000


def test_a_name_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    names = NamesToTell()
    fresh: list[float] = []
    for moment in (0.0, 1.0, 30.0, 59.9):
        now = moment
        if names.note(["x", "ü"]):
            fresh.append(moment)
    assert names.untold == ["x", "ü"]
    names.untold.clear()
    now = 60.0
    assert names.note(["x"])
    assert names.untold == ["x"]
    assert fresh == [0.0]
