"""Payloads that are too large: one class of error, whichever limit they are beyond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dibs import AsyncDibs, Dibs, InvalidArgument, Task
from dibs.broker.config.limits import Limits

from ..support.broker_thread import serving
from ..support.redis import RedisServer

LARGE, HUGE = "x" * 300_000, "x" * 5_000_000


def echo(text: str) -> str:
    return text


@pytest.fixture
def task(app: Dibs) -> Task[[str], str]:
    return app.task(name="echo")(echo)


def in_a_batch(task: Task[[str], str], app: Dibs, text: str) -> None:
    with app.batch():
        task.execute("before")
        task.execute(text)


def as_data(task: Task[[str], str], app: Dibs, text: str) -> None:
    app.Data("data").put_data(["before", text])


def alone(task: Task[[str], str], app: Dibs, text: str) -> None:
    task.execute(text)


@pytest.mark.parametrize("text", [LARGE, HUGE], ids=["300 kB", "5 MB"])
@pytest.mark.parametrize("put", [alone, in_a_batch, as_data])
def test_a_payload_that_is_too_large_is_an_invalid_argument_whichever_limit_it_is_beyond(
    app: Dibs, task: Task[[str], str], put: Callable[..., None], text: str
) -> None:
    with pytest.raises(InvalidArgument, match=r"content.payload: has .* bytes, must have at most 262144") as caught:
        put(task, app, text)

    assert caught.value.field.endswith("content.payload")
    assert caught.value.reason == "INVALID_FIELD"


@pytest.mark.parametrize("text", [LARGE, HUGE], ids=["300 kB", "5 MB"])
async def test_so_it_is_for_asyncio(app: Dibs, task: Task[[str], str], text: str) -> None:
    async with AsyncDibs(of=app) as adibs:
        with pytest.raises(InvalidArgument, match="must have at most 262144"):
            await task.on(adibs).execute(text)
        with pytest.raises(InvalidArgument, match="must have at most 262144"):
            async with adibs.batch():
                await task.on(adibs).execute(text)


def test_what_is_hopeless_is_not_sent(app: Dibs, task: Task[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    task.execute("opens the connection")
    line: Any = app._line
    monkeypatch.setattr(line, "submit", lambda entry: sent.append(len(entry)))

    with pytest.raises(InvalidArgument):
        task.execute(HUGE)
    assert sent == []


def test_a_broker_that_takes_more_is_asked_before_anything_is_refused(redis_server: RedisServer) -> None:
    limits = Limits(max_payload_bytes=6 * 1024**2, max_message_bytes=16 * 1024**2)
    with serving(redis_server.url, limits=limits) as broker, Dibs(broker.target, timeout=20) as app:
        task = app.task(name="echo")(echo)
        assert task.execute(HUGE).created
        with pytest.raises(InvalidArgument, match=f"must have at most {6 * 1024**2}"):
            task.execute("x" * 30_000_000)
