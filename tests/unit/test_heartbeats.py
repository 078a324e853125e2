"""When a stream says that it is alive, and when its other side is taken for dead."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.broker.config.limits import Limits
from dibs.broker.config.settings import BadSettings, Settings
from dibs.contract.heartbeats import DEFAULT, Clock, Pulse, Rhythm
from dibs.v1 import types_pb2 as tpb


def looked(clock: Clock, pulse: Pulse, seconds: float) -> list[tuple[str, float]]:
    """What comes of looking at a stream as often as one should, for so long: what, and when."""
    found = []
    for at in range(round(seconds / DEFAULT.look_s)):
        clock.look(clock.now + DEFAULT.look_s)
        if pulse.due:
            found.append(("due", (at + 1) * DEFAULT.look_s))
        if pulse.silent:
            found.append(("silent", (at + 1) * DEFAULT.look_s))
            break
    return found


def test_an_idle_stream_says_something_in_each_interval_and_is_taken_for_dead_after_the_timeout() -> None:
    clock = Clock(DEFAULT.look_s)
    assert looked(clock, Pulse(DEFAULT, clock), 60) == [("due", 5.0), ("due", 10.0), ("due", 15.0), ("silent", 15.0)]


def test_what_is_said_puts_the_next_heartbeat_off_and_what_is_heard_the_end() -> None:
    clock = Clock(DEFAULT.look_s)
    pulse = Pulse(DEFAULT, clock)
    looked(clock, pulse, 4)
    pulse.said = True
    assert looked(clock, pulse, 5) == []
    pulse.heard = True
    assert looked(clock, pulse, 30)[-1] == ("silent", 15.5)


def test_who_was_frozen_is_to_speak_at_once_and_to_listen_before_it_judges() -> None:
    clock = Clock(DEFAULT.look_s)
    pulse = Pulse(DEFAULT, clock)
    clock.look(clock.now + 3600)
    assert pulse.due
    assert not pulse.silent


def test_a_broker_announces_a_rhythm_that_can_be_kept_to_or_it_has_none() -> None:
    def told(interval_ms: int, timeout_ms: int) -> Rhythm | None:
        spans = [Duration(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000) for ms in (interval_ms, timeout_ms)]
        return Rhythm.told(tpb.Heartbeats(interval=spans[0], timeout=spans[1]))

    assert told(5_000, 15_000) == DEFAULT
    assert told(100, 200) == Rhythm(0.1, 0.2)
    assert [told(0, 15_000), told(5_000, 0), told(5_000, 9_999), told(1, 15_000), told(-5_000, 15_000)] == [None] * 5


def test_the_settings_of_a_broker_are_the_numbers_of_the_contract() -> None:
    limits = Limits()
    assert limits.heartbeat_interval == timedelta(seconds=DEFAULT.interval_s)
    assert limits.heartbeat_timeout == timedelta(seconds=DEFAULT.timeout_s)


@pytest.mark.parametrize(
    ("interval", "timeout", "why"),
    [
        ("10ms", "15s", "heartbeat_interval must be 0 or at least 50ms"),
        ("5s", "9s", "heartbeat_timeout must be at least twice the heartbeat_interval of 5s, not 9s"),
        ("6m", "15m", "--heartbeat-interval"),
        ("0", "50ms", "--heartbeat-timeout"),
    ],
)
def test_heartbeats_that_make_no_sense_are_refused_in_a_sentence(interval: str, timeout: str, why: str) -> None:
    with pytest.raises(BadSettings, match=why):
        Settings.load({"heartbeat_interval": interval, "heartbeat_timeout": timeout})
    assert Settings.load({"heartbeat_interval": "0"}).heartbeat_interval == timedelta(0)
