"""Lines of the audit log reach their file, whatever happens to it, and nobody waits for them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dibs.broker.border import audit_log
from dibs.broker.border.audit_log import AuditLog, CannotWrite

from ..support.waiting import until


def lost(count: int) -> bytes:
    return f"lost {count}\n".encode()


@contextmanager
def writing(path: Path | str) -> Iterator[AuditLog]:
    log = AuditLog(str(path), lost)
    try:
        yield log
    finally:
        log.close(5)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "_AGAIN_S", 0.02)


def test_lines_are_appended_in_order_to_a_file_that_others_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    for start in (0, 1000):
        with writing(path) as log:
            for number in range(start, start + 1000):
                log.say(f"{number}\n".encode())
    assert path.read_text() == "".join(f"{number}\n" for number in range(2000))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_renamed_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path, old = tmp_path / "audit", tmp_path / "audit.1"
    with writing(path) as log:
        log.say(b"1\n")
        until(lambda: path.read_bytes() == b"1\n")
        path.rename(old)
        log.say(b"2\n")
        until(lambda: path.exists() and path.read_bytes() == b"2\n")
    assert old.read_bytes() == b"1\n"


def test_a_file_that_was_copied_and_cut_off_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    with writing(path) as log:
        log.say(b"1\n")
        until(lambda: path.read_bytes() == b"1\n")
        os.truncate(path, 0)
        log.reopen()
        log.say(b"2\n")
        until(lambda: path.read_bytes() == b"2\n")


def test_while_a_disk_is_full_lines_wait_and_then_are_lost_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(audit_log, "MOST_WAITING", 5)
    monkeypatch.setattr(audit_log, "_MOST_AT_ONCE", 2)
    path = tmp_path / "audit"
    path.symlink_to("/dev/full")
    with writing(path) as log:
        log.say(b"0\n")
        until(lambda: log.complaint)
        before = time.monotonic()
        for number in range(1, 20):
            log.say(f"{number}\n".encode())
        assert time.monotonic() - before < 1
        assert log.complaint == f"--audit-log {path} cannot be written: No space left on device"
        assert log.lost
        path.unlink()
        until(lambda: not log.complaint)
        log.say(b"end\n")
        until(lambda: path.read_text().endswith("end\n"))
        written = path.read_text().split()
    kept = [line for line in written if line.isdecimal() and written[written.index(line) - 1] != "lost"]
    assert written[:2] == ["lost", str(log.lost)]
    assert kept == [str(number) for number in range(len(kept))]
    assert len(kept) + log.lost == 20
    assert caplog.text.count("cannot be written") == 1
    assert f"lines are written again; {log.lost} were lost so far" in caplog.text


def read_from(path: Path, expected: bytes) -> None:
    """Be the reader of a FIFO until that has come."""
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    found: list[bytes] = []

    def comes() -> bool:
        try:
            found.append(os.read(reader, 100))
        except BlockingIOError:
            return False
        return b"".join(found) == expected

    try:
        until(comes)
    finally:
        os.close(reader)


def test_a_fifo_without_a_reader_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    os.mkfifo(path)
    with writing(path) as log:
        log.say(b"1\n")
        until(lambda: log.complaint)
        read_from(path, b"1\n")
        until(lambda: not log.complaint)
        log.say(b"2\n")
        until(lambda: log.complaint)
        read_from(path, b"2\n")


def test_a_line_that_was_cut_off_is_ended_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit"
    write = os.write
    left = [3]

    def filling(fd: int, data: bytes) -> int:
        if left[0] == 0:
            left[0] = 1000
            raise OSError(28, "No space left on device")
        done = write(fd, data[: left[0]])
        left[0] -= done
        return done

    with writing(path) as log:
        monkeypatch.setattr(os, "write", filling)
        log.say(b"12345\n")
        until(lambda: path.exists() and path.read_bytes().endswith(b"12345\n"))
        monkeypatch.undo()
    assert path.read_bytes().endswith(b"\n12345\n") or path.read_bytes() == b"12312345\n"


@pytest.mark.parametrize(("where", "said"), [(".", "Is a directory"), ("none/audit", "No such file or directory")])
def test_what_cannot_be_opened_is_refused_at_the_start(tmp_path: Path, where: str, said: str) -> None:
    with pytest.raises(CannotWrite, match=f"--audit-log .* cannot be written: {said}"):
        AuditLog(str(tmp_path / where), lost)


def test_lines_go_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with writing("stderr") as log:
        log.say(b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_the_end_waits_no_longer_than_it_may(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit"
    path.symlink_to("/dev/full")
    log = AuditLog(str(path), lost)
    log.say(b"1\n")
    until(lambda: log.complaint)
    before = time.monotonic()
    log.close(0.1)
    assert time.monotonic() - before < 5
    assert "at least 1 lines not written" in caplog.text
