"""When a worker takes what it reads to have been leased."""

from __future__ import annotations

import pytest

from dibs.rpc.dating import Dating

#: What Redis's clock says when ours says 0.
EPOCH = 1_795_000_000.0
#: What a batch takes from Redis to the worker.
WAY = 0.01


class Worker:
    """A worker whose clock a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("time.monotonic", lambda: 0.0)
        self._dating = Dating()
        self.now = 0.0

    def awake(self, seconds: float) -> None:
        """It goes on as it should."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            self._dating.look(self.now)

    def reads(self, leased: float) -> float:
        """When it takes a batch to have been leased, by our clock, that Redis says was leased then."""
        return self._dating.date(leased, self.now)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(monkeypatch)


def test_a_worker_that_is_awake_has_just_received_what_it_reads(worker: Worker) -> None:
    worker.awake(60)
    assert worker.reads(EPOCH + 60 - WAY) == 60
    # Redis's clock may be set in either direction meanwhile.
    worker.awake(60)
    assert worker.reads(EPOCH - 300) == 120
    worker.awake(60)
    assert worker.reads(EPOCH + 900) == 180


def test_what_a_frozen_worker_reads_is_as_old_as_redis_says(worker: Worker) -> None:
    worker.awake(10)
    worker.reads(EPOCH + 10 - WAY)
    worker.now += 30
    assert worker.reads(EPOCH + 15) == pytest.approx(15 + WAY)
    assert worker.reads(EPOCH + 35) == pytest.approx(35 + WAY)
    assert worker.reads(EPOCH + 40 - WAY) == pytest.approx(40)


def test_it_is_so_also_when_the_worker_has_looked_at_the_clock_before_it_reads(worker: Worker) -> None:
    worker.awake(10)
    worker.reads(EPOCH + 10 - WAY)
    worker.now += 30
    worker.awake(1)
    assert worker.reads(EPOCH + 15) == pytest.approx(15 + WAY)


def test_a_worker_that_had_never_received_anything_takes_the_longest_time_that_it_can_be(worker: Worker) -> None:
    worker.awake(10)
    worker.now += 30
    assert worker.reads(EPOCH + 39) == 10
    # A moment later it is certain that nothing of that time is left.
    worker.awake(3)
    assert worker.reads(EPOCH + 43) == worker.now


def test_a_clock_of_redis_that_was_set_meanwhile_makes_nothing_older_than_the_freeze(
    worker: Worker,
) -> None:
    worker.awake(10)
    worker.reads(EPOCH + 10 - WAY)
    worker.now += 30
    assert worker.reads(EPOCH - 600) == 10
    assert worker.reads(EPOCH + 900) == 40


def test_one_that_is_held_up_again_and_again_takes_nothing_for_older_than_two_of_its_pauses(worker: Worker) -> None:
    for _ in range(100):
        worker.now += 1.5
        worker._dating.look(worker.now)
    assert worker.reads(EPOCH + worker.now) == worker.now - 3


def test_what_waited_through_two_pauses_is_not_taken_for_younger(worker: Worker) -> None:
    worker.awake(10)
    worker.now += 30
    worker._dating.look(worker.now)
    worker.now += 1
    assert worker.reads(EPOCH + 15) == 10


def test_what_comes_on_a_stream_is_no_older_than_the_stream(worker: Worker) -> None:
    worker.now += 30
    worker._dating.begin(worker.now)
    assert worker.reads(EPOCH + 5) == 30
