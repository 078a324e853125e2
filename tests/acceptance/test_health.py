"""`dibs health`, as scripts and containers use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..support import redis as redis_support
from ..support.fleet import BrokerProcess


def health(target: str, *options: str) -> tuple[int, str, str]:
    """Runs the command; exit code, standard output and standard error."""
    command = [sys.executable, "-m", "dibs", "health", "--target", target, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_broker_with_its_redis_serves(tmp_path: Path) -> None:
    programs = redis_support.found_programs()
    with redis_support.running(programs[max(programs)]) as redis:
        broker = BrokerProcess(redis.url, tmp_path)
        try:
            broker.start()
            assert health(broker.address) == (0, "SERVING\n", "")
            assert health(broker.address, "--service", "dibs.v1.BrokerService") == (0, "SERVING\n", "")
            code, _, said = health(broker.address, "--service", "dibs.v1.Nothing")
            assert code == 3
            assert "dibs.v1.Nothing" in said
        finally:
            broker.kill()


def test_a_broker_without_its_redis_does_not(tmp_path: Path) -> None:
    broker = BrokerProcess(f"unix://{tmp_path}/nobody", tmp_path)
    try:
        broker.start()
        assert health(broker.address) == (1, "NOT_SERVING\n", "")
    finally:
        broker.kill()


@pytest.mark.parametrize("options", [(), ("--timeout", "1s")])
def test_nobody_is_no_answer(options: tuple[str, ...]) -> None:
    code, out, said = health("127.0.0.1:1", *options)
    assert (code, out) == (4, "")
    assert "127.0.0.1:1" in said
