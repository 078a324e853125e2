"""What tasks may say, what exceptions mean, and warnings of what has no effect."""

from __future__ import annotations

import pickle
import warnings
from datetime import timedelta
from typing import Any

import pytest

import dibs
from dibs import Backoff, Dibs, Reject, Retry, Snooze
from dibs.tasks.dispositions import Disposition, ErrorRules


def test_delays_are_seconds_or_a_timedelta() -> None:
    assert Retry(timedelta(minutes=1)).delay == 60
    assert Retry().delay is None
    assert Snooze(2.5).delay == 2.5


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 367 * 86_400, "5", True])
@pytest.mark.parametrize("kind", [Retry, Snooze])
def test_a_delay_that_no_broker_takes_is_refused_where_it_is_written(kind: type[Any], delay: Any) -> None:
    with pytest.raises(ValueError, match="delay"):
        kind(delay)


def test_a_snooze_of_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Snooze(0)


@pytest.mark.parametrize("said", [Retry(5, "busy"), Retry(), Reject("no such order"), Snooze(1, "closed")])
def test_they_survive_another_process_and_print_their_reason(said: Disposition) -> None:
    again = pickle.loads(pickle.dumps(said))
    assert (type(again), again.delay, str(again)) == (type(said), said.delay, said.reason)


@pytest.mark.parametrize(
    ("rules", "error", "gives_up"),
    [
        ({}, KeyError(), False),
        ({"retry_on": OSError}, KeyError(), True),
        ({"retry_on": OSError}, FileNotFoundError(), False),
        ({"retry_on": (OSError, KeyError)}, KeyError(), False),
        ({"give_up_on": [KeyError]}, KeyError(), True),
        ({"give_up_on": [KeyError]}, OSError(), False),
        ({"retry_on": OSError, "give_up_on": FileNotFoundError}, FileNotFoundError(), True),
        ({"retry_on": OSError, "give_up_on": FileNotFoundError}, PermissionError(), False),
        ({"retry_on": ()}, KeyError(), True),
    ],
)
def test_rules_say_after_which_exceptions_a_call_is_given_up(
    rules: dict[str, Any], error: BaseException, gives_up: bool
) -> None:
    task = Dibs().task(name="task", attempts=3, vis_timeout=5, **rules)(lambda: None)
    assert task.gives_up_on(error) is gives_up


@pytest.mark.parametrize("name", ["retry_on", "give_up_on"])
@pytest.mark.parametrize("given", [KeyError("x"), 5, [int], ["KeyError"], int])
def test_what_is_no_class_of_exceptions_is_refused_by_name(name: str, given: Any) -> None:
    with pytest.raises(TypeError, match=name):
        ErrorRules.build(**{name: given})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"use_dead": True}, "use_dead"),
        ({"vis_timeout": 5, "backoff": Backoff()}, "backoff"),
        ({"vis_timeout": 5, "time_limit": 5}, "time_limit"),
        ({"retry_on": OSError}, "retry_on"),
        ({"attempts": 3, "give_up_on": OSError}, "give_up_on"),
    ],
)
def test_an_argument_without_effect_is_warned_of_at_the_decorator(arguments: dict[str, Any], named: str) -> None:
    for make in (
        lambda: Dibs().task(**arguments),
        lambda: dibs.AsyncDibs().task(**arguments),
        lambda: Dibs().periodic_task(60, **arguments),
    ):
        with pytest.warns(UserWarning, match=f"{named}.* no effect") as caught:
            make()
        assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    "arguments",
    [
        {"use_dead": True, "vis_timeout": 5},
        {"time_limit": 4, "vis_timeout": 5},
        {"time_limit": 5, "lease": 5},
        {"use_dead": True, "lease": 5, "backoff": Backoff(), "retry_on": OSError},
        {"use_dead": True, "save_results": 5},
        {"attempts": 2, "backoff": Backoff()},  # for retry()
        {"retry_on": OSError, "attempts": 2, "vis_timeout": 5},
    ],
)
def test_what_has_an_effect_warns_of_nothing(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings(action="error"):
        Dibs().task(**arguments)
