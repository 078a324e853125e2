"""Fixtures that every kind of test shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from .support import redis as redis_support

#: Major versions of Redis that the suite must have run on: the oldest supported and the one of the day (or newer).
REDIS_MAJORS = (6, redis_support.NEWER)

# How long an example takes says more of what else the machine does.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Where the tests run in the background their shell may have them ignore Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_programs() -> dict[int, str]:
    """Redis servers found on this machine, by major version."""
    return redis_support.found_programs()


@pytest.fixture(scope="session", params=REDIS_MAJORS, ids=[f"redis{major}" for major in REDIS_MAJORS])
def redis_program(request: pytest.FixtureRequest, redis_programs: dict[int, str]) -> str:
    """Path of a real Redis server; tests that ask for it run once for each version."""
    major: int = request.param
    if major not in redis_programs:
        missing = f"no Redis {major} on this machine"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return redis_programs[major]


@pytest.fixture(scope="session")
def _redis_session(redis_program: str) -> Iterator[redis_support.RedisServer]:
    with redis_support.running(redis_program) as server:
        yield server


@pytest.fixture
def redis_server(_redis_session: redis_support.RedisServer) -> redis_support.RedisServer:
    """A running Redis, empty; tests that ask for it run once for each version."""
    _redis_session.flush()
    return _redis_session
