"""gRPC is made ready for greenlets where gevent has patched threads, once, and nowhere else."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from dibs.rpc import greenlets


def patched(*modules: str) -> SimpleNamespace:
    """What stands for `gevent.monkey`."""
    return SimpleNamespace(is_module_patched=lambda name: name in modules)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(greenlets, "init_gevent", lambda: made.append("init"))
    monkeypatch.setattr(greenlets, "_prepared", [])
    return made


def test_it_is_done_once_where_threads_are_greenlets(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched("threading", "socket"))
    greenlets.prepare()
    greenlets.prepare()
    assert calls == ["init"]


def test_it_is_done_when_a_later_channel_finds_threads_patched(
    monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched("socket"))
    greenlets.prepare()
    assert calls == []
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched("threading"))
    greenlets.prepare()
    assert calls == ["init"]


def test_it_is_not_done_without_gevent(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    monkeypatch.delitem(sys.modules, "gevent.monkey", raising=False)
    greenlets.prepare()
    assert calls == []
