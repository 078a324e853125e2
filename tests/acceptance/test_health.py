"""`dibs health`, as scripts and containers use it."""

from __future__ import annotations

from pathlib import Path

from ..support import redis as redis_support
from ..support.processes import run_dibs, running_broker


def health(target: str, *options: str) -> tuple[int, str, str]:
    """Runs the command; exit code, standard output and standard error."""
    done = run_dibs("health", "--target", target, *options)
    return done.returncode, done.stdout, done.stderr


def test_a_broker_with_its_redis_serves() -> None:
    programs = redis_support.found_programs()
    with redis_support.running(programs[max(programs)]) as redis, running_broker("--redis", redis.url) as broker:
        assert health(broker.address) == (0, "SERVING\n", "")
        assert health(broker.address, "--service", "dibs.v1.BrokerService") == (0, "SERVING\n", "")
        code, _, said = health(broker.address, "--service", "dibs.v1.Nothing")
        assert code == 3
        assert "dibs.v1.Nothing" in said


def test_a_broker_without_its_redis_does_not(tmp_path: Path) -> None:
    with running_broker("--redis", f"unix://{tmp_path}/nobody") as broker:
        assert health(broker.address) == (1, "NOT_SERVING\n", "")


def test_nobody_is_no_answer() -> None:
    code, out, said = health("127.0.0.1:1")
    assert (code, out) == (4, "")
    assert "127.0.0.1:1" in said
