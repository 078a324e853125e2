"""An instance that is told of another broker while a thread connects goes to the new one."""

from __future__ import annotations

import pytest

from dibs import Dibs
from dibs.client import dibs as module
from dibs.rpc.connection import Connection
from dibs.rpc.transport import Transport


def test_a_connection_that_is_opened_meanwhile_is_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Dibs("127.0.0.1:1")
    opened: list[str] = []

    def opening(connection: Connection) -> Transport:
        opened.append(connection.target)
        if len(opened) == 1:  # as if another thread did it here
            instance.connect("127.0.0.1:2")
        return Transport(connection)

    monkeypatch.setattr(module, "Transport", opening)
    assert instance.transport.connection.target == "127.0.0.1:2"
    assert opened == ["127.0.0.1:1", "127.0.0.1:2"]


def test_what_was_open_is_closed() -> None:
    instance = Dibs("127.0.0.1:1")
    before = instance.transport
    instance.connect("127.0.0.1:2")
    assert instance.transport is not before
    assert instance.transport.connection.target == "127.0.0.1:2"
