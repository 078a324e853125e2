"""gRPC is made ready for greenlets where gevent has patched threads, once, and nowhere else."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import grpc.experimental.gevent  # noqa: F401 - patched below
import pytest

from dibs.rpc import greenlets

#: What stands for the pool of threads of gevent's hub.
POOL: list[str] = []


def patched(*modules: str) -> SimpleNamespace:
    """What stands for `gevent.monkey`."""
    return SimpleNamespace(is_module_patched=lambda name: name in modules)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr("grpc.experimental.gevent.init_gevent", lambda: made.append("init"))
    monkeypatch.setitem(sys.modules, "gevent", SimpleNamespace(get_hub=lambda: SimpleNamespace(threadpool=POOL)))
    monkeypatch.setattr(greenlets, "_hubs", [])
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


def test_a_thread_of_the_pool_that_is_at_work_is_no_rest(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched("threading"))
    monkeypatch.setitem(globals(), "POOL", ["what gRPC gave it"])
    assert greenlets.at_rest()  # gRPC knows of no greenlets yet
    greenlets.prepare()
    assert not greenlets.at_rest()
    POOL.clear()
    assert greenlets.at_rest()
