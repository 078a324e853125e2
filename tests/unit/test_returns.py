"""What goes back to Redis goes on trying until it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from dibs.broker.engine import receipts
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import EngineError, ScriptBug, Unavailable
from dibs.broker.engine.receipts import Receipts
from dibs.broker.engine.types import Leased, Nack, Outcome
from dibs.broker.leasing import returns as module
from dibs.broker.leasing.returns import Returns, returnable

NS = "ns"


class FakeEngine:
    """Takes what comes back; `failures` are raised first, one a call.

    Attributes:
        log: what was called, in order.
    """

    def __init__(self, *failures: EngineError) -> None:
        self.failures = list(failures)
        self.log: list[tuple[str, object]] = []
        self.receipts = Receipts(self._tell)

    async def nack(self, namespace: str, entries: Sequence[Nack]) -> Sequence[Outcome]:
        self._note("nack", [(one.id, one.reason.name, one.delay_us) for one in entries])
        return [Outcome.OK] * len(entries)

    async def restore(self, namespace: str, items: Sequence[Leased], *, delay_us: int, name: str, keep_ms: int) -> None:
        self._note("restore", (name, [item.id for item in items], delay_us))

    async def _tell(self, namespace: str, answers: Sequence[tuple[str, int]], tokens: Sequence[int]) -> None:
        self._note("told", list(tokens))

    def _note(self, what: str, said: object) -> None:
        self.log.append((what, said))
        if self.failures:
            raise self.failures.pop(0)


def returns_of(fake: FakeEngine) -> Returns:
    return Returns(cast(Engine, fake))


def leased(id: str, token: int = 7, *, lease_us: int = 1) -> Leased:
    return Leased(id, token, 1, 3, lease_us, "", b"record")


def once(id: str) -> Leased:
    return leased(id, 0, lease_us=0)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECEIPT_WAITS_S", 0.05)


def test_of_what_was_sent_only_leases_go_back() -> None:
    items = [leased("a", 1), once("b"), leased("kept once", 2, lease_us=0)]
    assert returnable(items) == [("a", 1)]


async def test_what_nobody_saw_goes_back_unseen_and_restored() -> None:
    fake = FakeEngine()
    returns = returns_of(fake)
    returns.unseen(NS, [leased("a"), once("b"), leased("c", lease_us=0)], delay_us=9)
    returns.unseen(NS, [])
    await returns.close(5)
    assert fake.log[0] == ("nack", [("a", "UNSEEN", 9), ("c", "UNSEEN", 9)])
    assert [(what, said[1:]) for what, said in fake.log[1:] if isinstance(said, tuple)] == [("restore", (["b"], 9))]


async def test_items_are_put_back_under_one_name_until_redis_answers(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeEngine(*(Unavailable("no answer") for _ in range(3)))
    returns = returns_of(fake)
    returns.unseen(NS, [once("a")])
    await returns.close(5)
    returns.unseen(NS, [once("b")])
    await returns.close(5)
    names = [said[0] for _, said in fake.log if isinstance(said, tuple)]
    assert len(names) == 5
    assert len(set(names[:4])) == 1
    assert names[4] != names[0]
    assert caplog.text.count("waits for Redis") == 1


async def test_at_most_once_items_are_not_put_back_when_redis_may_have_forgotten_the_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_REPEATED_FOR_S", -1.0)
    fake = FakeEngine()
    returns = returns_of(fake)
    returns.unseen(NS, [once("a"), once("b")])
    await returns.close(5)
    assert fake.log == []
    assert "2 at-most-once items are lost" in caplog.text


async def test_what_was_not_received_waits_for_a_receipt_and_lets_it_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receipts, "_RECEIPT_WAITS_S", 10.0)
    fake = FakeEngine()
    returns = returns_of(fake)
    began = asyncio.get_running_loop().time()
    returns.unreceived(NS, [("a", 1), ("b", 2)])
    returns.unreceived(NS, [])
    returns.unseen(NS, [leased("c")])
    fake.receipts.received(NS, [1])
    await returns.close(5)
    # Others do not wait; and the receipt is there before Redis decides.
    assert [what for what, _ in fake.log] == ["nack", "told", "nack"]
    assert fake.log[2] == ("nack", [("a", "UNRECEIVED", 0), ("b", "UNRECEIVED", 0)])
    assert asyncio.get_running_loop().time() - began >= 0.05


async def test_nothing_goes_back_as_not_received_before_the_receipts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "_RECEIPT_WAITS_S", 10.0)
    fake = FakeEngine(Unavailable("no answer"), Unavailable("no answer"))
    returns = returns_of(fake)
    returns.unreceived(NS, [("a", 1)])
    fake.receipts.received(NS, [2])
    await returns.close(5)
    assert [what for what, _ in fake.log] == ["told", "told", "told", "nack"]
    assert fake.failures == []


async def test_what_a_script_fails_on_does_not_hold_up_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCH", 2)
    fake = FakeEngine(ScriptBug("cannot"))
    returns = returns_of(fake)
    returns.unseen(NS, [leased(id) for id in "abcd"])
    await returns.close(5)
    batches = ["".join(id for id, _, _ in said) for _, said in fake.log if isinstance(said, list)]
    assert batches == ["ab", "cd", "ab"]


async def test_the_end_gives_up_in_time_and_says_what_that_means(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeEngine(*(Unavailable("no answer") for _ in range(1_000)))
    returns = returns_of(fake)
    returns.unseen(NS, [leased("a"), once("b"), once("c")])
    returns.unreceived(NS, [("d", 4)])
    async with asyncio.timeout(5):
        await returns.close(0.2)
    assert "2 items come back when their leases run out, their attempts unused; 2 at-most-once items are lost" in (
        caplog.text
    )
