"""A dozen faults under load, a short while each. ``python -m tests.robustness`` has them all, and for longer."""

from __future__ import annotations

import random

import pytest

from .run import run
from .table import FAULTS

#: One of each kind, the whole within some minutes.
SHORT = (
    "nothing",
    "kill-worker",
    "kill-task-process",
    "kill-broker",
    "kill-redis",
    "stop-worker",
    "client-mute",
    "worker-reset",
    "redis-mute",
    "redis-truncate",
    "failover-cut",
    "poison",
)
_SECONDS = 4.0

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("name", SHORT)
def test_everything_that_was_promised_holds_under(name: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"python -m tests.robustness --fault {name} --seed {seed}")  # shown when it fails
    report = run(FAULTS[name], seed, _SECONDS)
    assert not report.violations, str(report)
