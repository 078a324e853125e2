"""What Redis has to be told of deliveries rides on other calls, or goes by itself after a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dibs.broker.engine import receipts as module
from dibs.broker.engine.errors import Unavailable
from dibs.broker.engine.receipts import Receipts


class Told:
    """Takes what is told, or refuses it.

    Attributes:
        calls: what was told, by call.
        refusals: how many calls fail first.
        heard: set by each call that does not fail.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[tuple[str, int]], list[int]]] = []
        self.tries = 0
        self.refusals = 0
        self.heard = asyncio.Event()

    async def __call__(self, namespace: str, answers: Sequence[tuple[str, int]], tokens: Sequence[int]) -> None:
        self.tries += 1
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("no answer")
        self.calls.append((namespace, list(answers), list(tokens)))
        self.heard.set()

    async def until_heard(self) -> None:
        async with asyncio.timeout(5):
            await self.heard.wait()
        self.heard.clear()


async def test_all_receipts_of_a_moment_go_in_one_call() -> None:
    told = Told()
    receipts = Receipts(told)
    for tokens in ([3, 1], [2], [1], []):
        receipts.received("ns", tokens)
    await told.until_heard()
    assert told.calls == [("ns", [], [3, 1, 2])]


async def test_what_a_call_carried_is_not_told_again() -> None:
    told = Told()
    receipts = Receipts(told)
    receipts.received("ns", [1])
    with receipts.carried("other") as tokens:
        assert list(tokens) == []
    with receipts.carried("ns") as tokens:
        assert list(tokens) == [1]
    receipts.received("ns", [2])
    await told.until_heard()
    assert told.calls == [("ns", [], [2])]


async def test_what_a_call_that_failed_had_carried_is_told() -> None:
    told = Told()
    receipts = Receipts(told)
    receipts.received("ns", [1])
    with pytest.raises(Unavailable), receipts.carried("ns"):
        raise Unavailable("no answer")
    await told.until_heard()
    assert told.calls == [("ns", [], [1])]


async def test_an_answer_that_held_something_is_told_of_unless_its_caller_calls_again() -> None:
    told = Told()
    receipts = Receipts(told)
    receipts.answered("ns", "me", 1, kept=True)
    receipts.answered("ns", "you", 1, kept=True)
    receipts.answered("ns", "nobody", 1, kept=False)
    receipts.answered("ns", "you", 2, kept=False)
    await told.until_heard()
    assert told.calls == [("ns", [("me", 1)], [])]


async def test_an_answer_that_comes_while_the_last_is_told_of_is_told_of_too() -> None:
    calls = []

    async def tell(namespace: str, answers: Sequence[tuple[str, int]], tokens: Sequence[int]) -> None:
        calls.append(list(answers))
        if len(calls) == 1:
            receipts.answered("ns", "me", 2, kept=True)

    receipts = Receipts(tell)
    receipts.answered("ns", "me", 1, kept=True)
    await receipts.tell("ns")
    await receipts.tell("ns")
    assert calls == [[("me", 1)], [("me", 2)]]


async def test_while_redis_is_away_it_is_told_again_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    told.refusals = 3
    receipts = Receipts(told)
    receipts.received("ns", [1])
    await told.until_heard()
    assert told.calls == [("ns", [], [1])]
    assert caplog.text.count("wait for Redis") == 1


async def test_a_call_tells_a_thousand_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 2_500)
    told = Told()
    receipts = Receipts(told)
    receipts.received("ns", range(3_000))
    await receipts.tell("ns")
    # Of more than may wait the oldest are dropped.
    assert [len(tokens) for _, _, tokens in told.calls] == [1_000, 1_000, 500]
    assert told.calls[0][2][0] == 500


async def test_telling_ends_although_more_comes_all_the_time() -> None:
    async def tell(namespace: str, answers: Sequence[tuple[str, int]], tokens: Sequence[int]) -> None:
        told.extend(tokens)
        receipts.received(namespace, [tokens[-1] + 1])
        await asyncio.sleep(0)

    told: list[int] = []
    receipts = Receipts(tell)
    receipts.received("ns", range(2500))
    async with asyncio.timeout(5):
        await receipts.tell("ns")
    assert told[:2500] == list(range(2500))


async def test_nothing_is_left_running_when_nothing_is_left_to_tell() -> None:
    told = Told()
    receipts = Receipts(told)
    before = asyncio.all_tasks()
    receipts.received("ns", [1])
    receipts.answered("ns", "me", 1, kept=True)
    await told.until_heard()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert receipts._untold["ns"]._timer is None


async def test_the_end_tells_everything_at_once() -> None:
    told = Told()
    receipts = Receipts(told)
    receipts.answered("ns", "me", 1, kept=True)
    receipts.received("other", [1])
    await receipts.close(5)
    assert sorted(told.calls) == [("ns", [("me", 1)], []), ("other", [], [1])]


async def test_the_end_does_not_wait_for_a_redis_that_is_away() -> None:
    told = Told()
    told.refusals = 1_000_000
    receipts = Receipts(told)
    before = asyncio.all_tasks()
    receipts.received("ns", [1])
    async with asyncio.timeout(5):
        await receipts.close(0.1)
    assert told.tries >= 1
    assert asyncio.all_tasks() == before
