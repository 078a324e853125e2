"""Log lines of workers, for people and for machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from dibs.worker.shared.logs import Said, configure

TRACEBACK = 'Traceback (most recent call last):\n  File "tasks.py", line 3, in add\nValueError: no\n'


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The root logger is as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


Captured = pytest.CaptureFixture[str]


def test_fields_stand_in_the_line_and_the_traceback_below_it(capsys: Captured) -> None:
    configure()
    logging.getLogger("dibs.worker").error(Said("task failed", task="add", traceback=TRACEBACK, took=1.5, why="a b"))
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith('task failed task=add took=1.500 why="a b"')
    assert rest == [
        "    Traceback (most recent call last):",
        '      File "tasks.py", line 3, in add',
        "    ValueError: no",
    ]


@pytest.mark.parametrize("evil", ["2026-01-01 ERROR forged", "\x1b[2J", "\r2026-01-01 ERROR forged", "\u2028x", "\0"])
def test_what_an_exception_says_looks_like_no_line_of_the_log(capsys: Captured, evil: str) -> None:
    configure()
    logging.getLogger("dibs.worker").error(Said("task failed", error=evil, traceback=f"ValueError: \n{evil}\nend"))
    first, *rest = capsys.readouterr().err.split("\n")[:-1]
    assert "task failed error=" in first
    assert rest[-1] == "    end"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


@pytest.mark.parametrize("traceback", [None, ""])
def test_no_traceback_is_no_line(traceback: str | None) -> None:
    assert str(Said("task failed", traceback=traceback, task="add")) == "task failed task=add"


def test_json_stays_one_object_a_line(capsys: Captured) -> None:
    configure(log_format="json")
    logging.getLogger("dibs.worker").error(Said("task failed", task="add", traceback=TRACEBACK))
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["task"], entry["traceback"]) == ("task failed", "add", TRACEBACK)


@pytest.mark.parametrize(("level", "log_format", "what"), [("loud", "text", "level"), ("info", "xml", "format")])
def test_other_levels_and_formats_are_refused(level: str, log_format: str, what: str) -> None:
    with pytest.raises(ValueError, match=f"the log {what} is"):
        configure(level, log_format)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("evil", ["\x1b[2J", "\x9b31m", "\u202eabc", "\u2028", "\0", "\ud800", "\u200f"])
def test_no_text_reaches_the_log_as_it_is(capsys: Captured, log_format: str, evil: str) -> None:
    configure(log_format=log_format)
    log = logging.getLogger("somebody")
    log.error("said %s", evil)
    log.error(Said("task failed", error=evil, traceback=f"ValueError: {evil}"))
    try:
        raise ValueError(evil)
    except ValueError:
        log.exception(Said("broken", names=[evil]))
    written = capsys.readouterr().err
    assert evil not in written
    assert written.count("ValueError: ") == 2
    written.encode()


def test_a_message_of_several_lines_forges_none(capsys: Captured) -> None:
    configure()
    logging.getLogger("somebody").error("one\n2026-01-01 ERROR forged\r\nthree")
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("one")
    assert rest == ["    2026-01-01 ERROR forged\\x0d", "    three"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_is_cut_however_long_its_texts_are(capsys: Captured, log_format: str) -> None:
    configure(log_format=log_format)
    log = logging.getLogger("somebody")
    long = "x" * 1_000_000
    log.error(long)
    log.error(Said("task failed", error=long, names=[long], traceback=f"first {long} last"))
    try:
        raise ValueError(f"{long} last")
    except ValueError:
        log.exception("broken")
    written = capsys.readouterr().err
    assert len(written) < 50_000
    assert "first" not in written
    assert written.count("last") == 2, "a traceback keeps its end"
