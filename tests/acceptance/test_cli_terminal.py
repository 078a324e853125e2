"""The operator's commands at a terminal: the live view, pages, questions."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from ..support import operating
from ..support.processes import Broker, environment
from ..support.terminal import Terminal


@pytest.fixture(scope="module")
def broker(redis_programs: dict[int, str]) -> Iterator[Broker]:
    with operating.newest_broker(redis_programs) as started:
        yield started


def at_terminal(broker: Broker, *args: str, rows: int = 24) -> Terminal:
    command = [sys.executable, "-m", "dibs", *args]
    return Terminal(command, environment({"DIBS_TARGET": broker.address}), rows=rows)


def fill(broker: Broker, queue: str, *ids: str) -> None:
    for id in ids:
        assert operating.dibs(broker.address, "enqueue", "t", "--queue", queue, "--id", id).code == 0


@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_the_live_view_ends_with_a_key(broker: Broker, key: str) -> None:
    fill(broker, "viewed", f"viewed-{ord(key)}")
    with at_terminal(broker, "top", "--interval", "100ms") as terminal:
        terminal.until("latency")
        terminal.until("viewed")
        terminal.until("latency")
        terminal.press(key)
        assert terminal.end()[0] == 0


def test_the_live_view_stays_and_says_so_when_the_broker_goes_away(
    redis_programs: dict[int, str],
) -> None:
    with operating.newest_broker(redis_programs) as broker, at_terminal(broker, "top", "-i", "100ms") as terminal:
        terminal.until("latency")
        broker.terminate()
        terminal.until("no broker answers")
        terminal.press("q")
        assert terminal.end()[0] == 0


def test_long_lists_stop_after_each_screen(broker: Broker) -> None:
    fill(broker, "long", *[f"long-{number:02}" for number in range(12)])
    with at_terminal(broker, "tasks", "long", rows=11) as terminal:
        first = terminal.until("5 shown; Enter for more, q to end")
        assert "long-04" in first
        assert "long-05" not in first
        terminal.press("\n")
        assert "long-09" in terminal.until("10 shown; Enter for more, q to end")
        terminal.press("q\n")
        code, rest = terminal.end()
    assert code == 0
    assert "long-10" not in rest


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 2), ("", 1, 2), ("y", 0, 0)])
def test_what_destroys_is_asked_for(broker: Broker, answer: str, code: int, left: int) -> None:
    queue = f"asked-{answer or 'nothing'}"
    fill(broker, queue, f"{queue}-1", f"{queue}-2")
    with at_terminal(broker, "clear", queue) as terminal:
        terminal.until(f"Remove everything that waits in {queue}?")
        terminal.press(f"{answer}\n")
        ended, said = terminal.end()
    assert ended == code
    assert ("2 item(s) removed" if left == 0 else "nothing was done") in said
    [found] = operating.dibs(broker.address, "queues", queue, "--sample", "0", "--json").json["queues"]
    assert found["ready"] == left
