"""Tokens in files that somebody else renews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dibs.rpc import token_file
from dibs.rpc.connection import Connection
from dibs.rpc.token_file import TokenFile
from dibs.worker.shared.hello import _connection, _plain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("first\n")
    return file


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; tests set it forward."""
    clock = [100.0]
    monkeypatch.setattr(f"{token_file.__name__}.time.monotonic", lambda: clock[0])
    return clock


def test_the_file_is_read_again_and_not_for_every_call(path: Path, now: list[float]) -> None:
    connection = Connection.build(token_file=path, environ={})
    assert connection.metadata == (("authorization", "Bearer first"),)
    path.write_text("second")
    assert connection.metadata == (("authorization", "Bearer first"),)
    now[0] += 1.0
    assert connection.metadata == (("authorization", "Bearer second"),)


@pytest.mark.parametrize("content", [None, "", "two words", "\u00e9", "x" * 20_000])
def test_while_it_does_not_serve_the_token_from_before_is_sent(
    path: Path, now: list[float], content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = TokenFile(path)
    assert file.token() == "first"
    for _ in range(3):
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(content)
        now[0] += 1.0
        assert file.token() == "first"
    assert caplog.text.count("the token from before is sent") == 1
    assert "first" not in caplog.text
    path.write_text("second")
    now[0] += 1.0
    assert file.token() == "second"


def test_a_file_without_a_token_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none cannot be read: No such file"):
        Connection.build(token_file=tmp_path / "none", environ={})
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="holds no token"):
        Connection.build(environ={"DIBS_TOKEN_FILE": str(tmp_path / "empty")})


@pytest.mark.parametrize(
    ("given", "environ", "sent"),
    [
        ({"token": "given"}, {"DIBS_TOKEN_FILE": "{}"}, "given"),
        ({}, {"DIBS_TOKEN": "said", "DIBS_TOKEN_FILE": "{}"}, "said"),
        ({}, {"DIBS_TOKEN": "", "DIBS_TOKEN_FILE": "{}"}, "first"),
        ({"token_file": "{}"}, {"DIBS_TOKEN": "said"}, "first"),
        ({"token": "given", "token_file": "{}"}, {}, "given"),
    ],
)
def test_a_token_goes_before_a_file_and_what_is_given_before_the_environment(
    path: Path, given: dict[str, Any], environ: dict[str, str], sent: str
) -> None:
    named = {name: value.format(path) for name, value in given.items()}
    connection = Connection.build(**named, environ={name: value.format(path) for name, value in environ.items()})
    assert connection.metadata == (("authorization", f"Bearer {sent}"),)


def test_a_token_of_a_file_does_not_travel_in_plaintext_either(path: Path) -> None:
    with pytest.raises(ValueError, match="would travel unencrypted"):
        Connection.build("queue.example.org:1", token_file=path, environ={})


def test_the_connector_of_a_worker_reads_the_same_file(path: Path) -> None:
    connection = Connection.build(token_file=path, environ={})
    assert _connection(_plain(connection)) == connection
    assert "first" not in repr(connection) + str(_plain(connection))


def test_it_is_not_told_whether_two_connections_have_read_yet(path: Path) -> None:
    one, other = TokenFile(path), TokenFile(path)
    one.token()
    assert one == other
    assert hash(one) == hash(other)
