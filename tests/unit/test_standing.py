"""Few log lines while something stays wrong, and one when it is over."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest

from dibs.contract import standing
from dibs.contract.standing import Standing

LOG = logging.getLogger("dibs.test")


class Time:
    """Moves when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Time:
    time = Time()
    monkeypatch.setattr(standing, "time", time)
    caplog.set_level(logging.INFO)
    return time


def test_many_in_the_same_condition_are_one_line_and_one_when_the_last_is_out_of_it(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    away = Standing(LOG, "Redis is back")
    for name in range(1000):
        away.note(name, "Redis is away for %s", name)
    assert caplog.messages == ["Redis is away for 0"]
    for name in range(999):
        away.end(name)
    assert away
    assert len(caplog.messages) == 1
    away.end(999)
    assert not away
    assert caplog.messages == ["Redis is away for 0", "Redis is back"]


def test_what_lasts_is_told_of_at_most_once_a_second_and_ever_more_seldom(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    away = Standing(LOG, "Redis is back")
    told = []
    for tenth in range(3600 * 10):
        time.now = 1000 + tenth / 10
        before = len(caplog.messages)
        away.note("a", "away")
        if len(caplog.messages) > before:
            told.append(time.now)
    pauses = [after - before for before, after in pairwise(told)]
    assert min(pauses) >= 1
    assert len(told) < 70


def test_what_comes_and_goes_is_at_most_two_lines_a_second(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    away = Standing(LOG, "Redis is back")
    for tenth in range(100):
        time.now = 1000 + tenth / 10
        away.note("a", "away")
        away.end("a")
    assert len(caplog.messages) <= 22


def test_the_end_of_what_has_not_begun_is_no_news(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    Standing(LOG, "Redis is back").end("a")
    assert caplog.messages == []
