"""Attempts, waits and what is kept: from the arguments of decorators to the wire."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dibs import Backoff
from dibs.enqueueing.policy import Policy, policy_from_wire
from dibs.v1.types_pb2 import DeliveryPolicy


def wire(policy: Policy, *args: int) -> DeliveryPolicy:
    return DeliveryPolicy.FromString(policy.encode(*args) if args else policy.encoded)


def test_nothing_given_is_one_attempt_delivered_at_most_once_with_nothing_kept() -> None:
    assert wire(Policy.build()) == DeliveryPolicy(attempts=1)


def test_every_argument_arrives() -> None:
    policy = wire(
        Policy.build(
            attempts=3, vis_timeout=timedelta(seconds=1.5), use_dead=True, save_results=60, retry_delay=timedelta(0)
        )
    )

    assert policy.attempts == 3
    assert policy.lease_timeout.ToMilliseconds() == 1500
    assert policy.result_ttl.seconds == 60
    assert policy.use_dead_letter
    assert policy.dead_letter_queue == ""
    assert policy.HasField("retry")
    assert policy.retry.initial_delay.ToNanoseconds() == 0


def test_a_budget_of_crashes_arrives() -> None:
    assert [wire(Policy.build(max_crashes=number)).max_crashes for number in (1, 1000)] == [1, 1000]
    # The broker's default, so that brokers that do not know the word take the policy as well.
    assert wire(Policy.build(max_crashes=3)).max_crashes == 0


def test_a_lease_arrives_and_is_to_be_renewed() -> None:
    policy = wire(Policy.build(lease=timedelta(seconds=1.5)))

    assert (policy.lease_timeout.ToMilliseconds(), policy.renew) == (1500, True)
    assert not wire(Policy.build(vis_timeout=1.5)).renew


@pytest.mark.parametrize(
    ("arguments", "attempts"),
    [
        ({"lease": 30}, 3),
        ({"lease": 30, "attempts": 1}, 1),
        ({"vis_timeout": 30}, 1),
        ({"lease": 0, "vis_timeout": 30}, 1),
        ({}, 1),
    ],
)
def test_a_death_costs_no_call_with_a_lease_unless_its_task_says_so(arguments: dict[str, Any], attempts: int) -> None:
    assert wire(Policy.build(**arguments)).attempts == attempts


def test_how_long_it_may_wait_arrives() -> None:
    assert wire(Policy.build(expires=timedelta(seconds=1.5))).expire_after.ToMilliseconds() == 1500
    assert not wire(Policy.build()).HasField("expire_after")


def test_a_time_limit_arrives() -> None:
    assert wire(Policy.build(time_limit=timedelta(seconds=1.5))).run_timeout.ToMilliseconds() == 1500
    assert not wire(Policy.build()).HasField("run_timeout")


def test_a_text_names_another_dead_letter_queue() -> None:
    policy = wire(Policy.build(use_dead="graveyard"))

    assert policy.use_dead_letter
    assert policy.dead_letter_queue == "graveyard"


def test_without_a_retry_delay_the_lease_decides() -> None:
    assert not wire(Policy.build(attempts=2, vis_timeout=5)).HasField("retry")


def test_a_backoff_arrives_and_goes_on_where_a_retry_left_it() -> None:
    policy = Policy.build(attempts=5, backoff=Backoff(initial=2, factor=3, maximum=100, jitter=0.5))

    first = wire(policy).retry
    assert (first.initial_delay.seconds, first.multiplier, first.max_delay.seconds, first.jitter) == (2, 3, 100, 0.5)
    third = wire(policy, 3, 2).retry
    assert third.initial_delay.ToMilliseconds() == pytest.approx(18_000, abs=1)


def test_waits_grow_up_to_the_maximum() -> None:
    backoff = Backoff(initial=1, factor=2, maximum=10, jitter=0)

    assert [round(backoff.wait(attempt), 6) for attempt in (1, 2, 3, 4, 5)] == [1, 2, 4, 8, 10]
    assert backoff.wait(1_000_000) == 10
    assert Backoff(initial=0).wait(3) == 0


def test_jitter_stays_within_its_share() -> None:
    backoff = Backoff(initial=10, jitter=0.2)

    waits = {backoff.wait_with_jitter(1) for _ in range(200)}

    assert len(waits) > 100
    assert min(waits) >= 8
    assert max(waits) <= 12


def test_a_retry_waits_half_a_minute_unless_told_otherwise() -> None:
    assert Policy.build().retry_wait(1) == 30
    assert Policy.build(retry_delay=5).retry_wait(3) == 5
    assert Policy.build(backoff=Backoff(initial=1, jitter=0)).retry_wait(3) == pytest.approx(4)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"attempts": 0}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"attempts": 1.5}, "attempts"),
        ({"vis_timeout": -1}, "vis_timeout"),
        ({"vis_timeout": "5"}, "vis_timeout"),
        ({"save_results": float("inf")}, "save_results"),
        ({"save_results": True}, "save_results"),
        ({"retry_delay": timedelta(seconds=-1)}, "retry_delay"),
        ({"retry_delay": 1, "backoff": Backoff()}, "backoff"),
        ({"max_crashes": 0}, "max_crashes"),
        ({"max_crashes": 1001}, "max_crashes"),
        ({"max_crashes": True}, "max_crashes"),
        ({"max_crashes": None}, "max_crashes"),
        ({"lease": -1}, "lease"),
        ({"time_limit": 0}, "time_limit must be at least 0.001 s, or None"),
        ({"time_limit": -1}, "time_limit"),
        ({"expires": 0}, "expires must be at least 0.001 s, or None"),
        ({"expires": True}, "expires"),
        ({"time_limit": "5"}, "time_limit"),
        ({"lease": 0.999}, "lease must be at least 1 s"),
        ({"lease": True}, "lease"),
        ({"lease": 1, "vis_timeout": 1}, "lease and vis_timeout do not go together"),
    ],
)
def test_a_value_out_of_range_is_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Policy.build(**arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"initial": -1}, "initial"),
        ({"factor": 0.5}, "factor"),
        ({"factor": 101}, "factor"),
        ({"maximum": "1"}, "maximum"),
        ({"jitter": 1.5}, "jitter"),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Backoff(**arguments)


@pytest.mark.parametrize(
    "policy",
    [
        Policy.build(),
        Policy.build(attempts=3, vis_timeout=1.5, use_dead=True, save_results=60, retry_delay=0, max_crashes=1),
        Policy.build(lease=30, time_limit=3600, expires=0.5),
        Policy.build(lease=1, attempts=1),
        Policy.build(use_dead="graveyard", backoff=Backoff(initial=2.0, factor=3.0, maximum=100.0, jitter=0.5)),
    ],
)
def test_a_policy_is_read_back(policy: Policy) -> None:
    assert policy_from_wire(wire(policy)) == policy


def test_numbers_of_a_later_version_are_no_reason_to_fail() -> None:
    later = DeliveryPolicy(attempts=3)
    later.retry.multiplier = 1_000
    later.retry.jitter = 5

    read = policy_from_wire(later)

    assert read.backoff is not None
    assert (read.backoff.factor, read.backoff.jitter) == (100, 1)
