"""An exception that ends a call in its thread, and nothing else there."""

from __future__ import annotations

import random
import threading
import time

import pytest

from dibs.errors import TimeLimitExceeded
from dibs.worker.process.limiting import Limits


def spin(seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass
    return "done"


def test_what_ends_in_time_is_let_be() -> None:
    limits = Limits()
    assert limits.run(60, lambda: spin(0.01)) == "done"


def test_what_takes_longer_is_ended() -> None:
    limits = Limits()
    began = time.monotonic()
    with pytest.raises(TimeLimitExceeded):
        limits.run(0.05, lambda: spin(20))
    assert 0.05 <= time.monotonic() - began < 10


def test_a_shorter_limit_that_comes_later_strikes_first() -> None:
    limits = Limits()
    go_on = threading.Event()
    other = threading.Thread(target=limits.run, args=(3600, lambda: go_on.wait(20)))
    other.start()
    try:
        with pytest.raises(TimeLimitExceeded):
            limits.run(0.05, lambda: spin(20))
    finally:
        go_on.set()
        other.join()


def test_a_call_that_raises_by_itself_does() -> None:
    def fail() -> None:
        raise LookupError("of the task")

    with pytest.raises(LookupError, match="of the task"):
        Limits().run(60, fail)


def test_a_limit_that_is_over_as_the_call_returns_strikes_nothing_else() -> None:
    """Many calls of about the length of their limits, in several threads: nothing is raised between them."""
    limits = Limits()
    strays: list[BaseException] = []
    ended = {"in time": 0, "struck": 0}
    counting = threading.Lock()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(200):
                length = chance.uniform(0.0005, 0.0015)
                try:
                    limits.run(0.001, lambda length=length: spin(length))  # type: ignore[misc]  # bound at once
                    how = "in time"
                except TimeLimitExceeded:
                    how = "struck"
                # Here a stray one would land.
                spin(0.0002)
                with counting:
                    ended[how] += 1
        except BaseException as error:  # noqa: BLE001 - this is what must not be
            strays.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not strays
    assert sum(ended.values()) == 800
    assert ended["struck"] > 0
