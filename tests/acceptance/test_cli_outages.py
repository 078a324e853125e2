"""The operator's commands while the broker, or its Redis, is away."""

from __future__ import annotations

import pytest

from dibs.cli.exits import Exit
from dibs.cli.table import TABLE

from ..support import operating
from ..support.operating import Command
from ..support.outages import fragile
from ..support.ports import free_port
from ..support.processes import running_broker

#: Arguments that each command needs.
ARGUMENTS = {
    "queues": [],
    "tasks": ["q"],
    "pause": ["q"],
    "resume": ["q"],
    "priority": ["q", "1"],
    "clear": ["q"],
    "flush": [],
    "dead": [],
    "redrive": ["q", "i"],
    "enqueue": ["t"],
    "show": ["i"],
    "cancel": ["i"],
    "delete": ["i"],
    "top": ["--once"],
    "workers": [],
    "worker-stop": ["w"],
    "worker-resize": ["w", "2"],
    "known": [],
    "schedules": [],
    "locks": [],
    "health": [],
    "namespaces": [],
    "delete-namespace": ["n"],
}


def test_the_list_of_commands_is_complete() -> None:
    assert {*ARGUMENTS, "doctor"} == {name for name, row in TABLE.items() if row.panel != "Run"}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_a_broker_that_is_away_has_its_exit_code(command: str) -> None:
    target = f"127.0.0.1:{free_port()}"
    said = operating.dibs(target, command, *ARGUMENTS[command], "--timeout", "100ms")
    assert (said.code, said.out) == (Exit.UNAVAILABLE, "")
    # A busy machine may not even be refused a connection in that time. Old releases of gRPC tell the number, too.
    assert said.err.replace(" (111)", "") in (
        f"dibs: no broker answers at {target} (Connection refused)\n",
        f"dibs: no answer from {target} in time\n",
    )


def test_doctor_says_in_words_that_the_broker_is_away() -> None:
    said = operating.dibs(f"127.0.0.1:{free_port()}", "doctor", "--timeout", "2s")
    assert said.code == Exit.NO
    assert "no broker answers" in said.out
    assert "is a broker running there" in said.out


def test_a_broker_whose_redis_is_away_says_so(redis_programs: dict[int, str]) -> None:
    with fragile(redis_programs[max(redis_programs)]) as redis, running_broker("--redis", redis.url) as broker:
        dibs = Command(broker.address)
        dibs("enqueue", "t", "--queue", "kept")
        redis.kill()
        for command in ("dead", "workers", "schedules", "known", "locks"):
            dibs(command, "--timeout", "300ms", code=Exit.UNAVAILABLE)
        error = dibs("queues", "--timeout", "3s", "--json", code=Exit.UNAVAILABLE).error
        assert error["reason"] == "REDIS_UNAVAILABLE"
        said = dibs("doctor", code=Exit.NO)
        assert "Redis does not answer the broker" in said.out
        redis.start()
        assert dibs.json("queues", "--sample", "0", "--timeout", "20s")["queues"][0]["name"] == "kept"
