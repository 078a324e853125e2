"""Calls that go on for a while: breaks, silence, a broker that is away, and answers that were lost."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from dibs import Cleared, DeadlineExceeded, Dibs, Progress, Unavailable
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import admin_pb2_grpc

from ..support.admin_faces import Face, Kind, face

Step = Callable[[Any], Iterator[int]]

#: Seconds that a call may take, and that a stream may say nothing.
TIMEOUT = 2.5


class Stepping(admin_pb2_grpc.AdminServiceServicer):
    """Does what the next of its scripts says, in each stream: items done so far, one report each."""

    def __init__(self) -> None:
        self.scripts: list[Step] = []
        self.streams = 0
        self.take_ids: list[str] = []
        self.let = threading.Event()

    def _reports(self, context: Any) -> Iterator[int]:
        self.streams += 1
        yield from self.scripts.pop(0)(context)

    def ClearQueue(self, request: Any, context: Any) -> Iterator[pb.ClearQueueResponse]:
        for done in self._reports(context):
            yield pb.ClearQueueResponse(removed=done, left=100 - done)

    def RedriveDeadLetters(self, request: Any, context: Any) -> Iterator[pb.RedriveDeadLettersResponse]:
        for done in self._reports(context):
            yield pb.RedriveDeadLettersResponse(redriven=done)

    def PurgeDeadLetters(self, request: Any, context: Any) -> Iterator[pb.PurgeDeadLettersResponse]:
        for done in self._reports(context):
            yield pb.PurgeDeadLettersResponse(purged=done)

    def Flush(self, request: pb.FlushRequest, context: Any) -> Iterator[pb.FlushResponse]:
        for done in self._reports(context):
            yield pb.FlushResponse(done=done)
        yield pb.FlushResponse(items=[pb.FlushedItem(id="flushed", state=pb.FLUSH_STATE_DONE)], finished=True)

    def TakeDeadLetters(self, request: pb.TakeDeadLettersRequest, context: Any) -> pb.TakeDeadLettersResponse:
        if request.received_request_id:
            return pb.TakeDeadLettersResponse()
        self.take_ids.append(request.request_id)
        if len(self.take_ids) == 1:
            context.abort(grpc.StatusCode.INTERNAL, "the answer is lost")
        return pb.TakeDeadLettersResponse(items=[pb.ItemInfo(id="taken")])


def slowly(*steps: int, pause: float = 0.6) -> Step:
    """A report every so often."""

    def script(context: Any) -> Iterator[int]:
        for done in steps:
            yield done
            time.sleep(pause)

    return script


def breaking(*steps: int, pause: float = 0) -> Step:
    """Reports, and then the broker goes away."""

    def script(context: Any) -> Iterator[int]:
        yield from steps
        time.sleep(pause)
        context.abort(grpc.StatusCode.UNAVAILABLE, "going away")

    return script


def falling_silent(*steps: int) -> Step:
    """Reports, and then nothing until the caller leaves."""

    def script(context: Any) -> Iterator[int]:
        yield from steps
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(20)

    return script


@pytest.fixture
def stepping() -> Iterator[tuple[Stepping, str]]:
    server = grpc.server(ThreadPoolExecutor(4))
    service = Stepping()  # type: ignore[abstract]  # it needs no more
    admin_pb2_grpc.add_AdminServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def service(stepping: tuple[Stepping, str]) -> Stepping:
    return stepping[0]


@pytest.fixture(params=["blocking", "asyncio"])
async def admin(request: pytest.FixtureRequest, stepping: tuple[Stepping, str]) -> AsyncIterator[Face]:
    kind: Kind = request.param
    with Dibs(stepping[1], timeout=TIMEOUT) as app:
        async with face(kind, app) as both:
            yield both


async def test_it_may_take_longer_than_a_call_if_it_reports(admin: Face, service: Stepping) -> None:
    service.scripts = [slowly(10, 20, 30, 40, 50)]
    began = time.monotonic()
    assert await admin("clear_queue", "q") == Cleared(50, False)
    assert time.monotonic() - began > TIMEOUT
    assert service.streams == 1


async def test_what_was_done_before_a_break_counts(admin: Face, service: Stepping) -> None:
    service.scripts = [breaking(10, 20), breaking(), slowly(5, 7, pause=0)]
    reports: list[Progress] = []

    assert await admin("clear_queue", "q", on_progress=reports.append) == Cleared(27, False)

    assert [report.done for report in reports] == [10, 20, 25, 27]


async def test_breaks_are_borne_for_as_long_as_there_is_progress(admin: Face, service: Stepping) -> None:
    service.scripts = [breaking(1, pause=0.5) for _ in range(7)] + [slowly(1, pause=0)]
    began = time.monotonic()
    assert await admin("clear_queue", "q") == Cleared(8, False)
    assert time.monotonic() - began > TIMEOUT


async def test_one_that_falls_silent_is_given_up(admin: Face, service: Stepping) -> None:
    service.scripts = [falling_silent(10), falling_silent()]
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="nothing came any more") as caught:
        await admin("clear_queue", "q")
    assert 2 * TIMEOUT <= time.monotonic() - began < 20
    assert "10 items were done before that" in caught.value.__notes__


async def test_one_that_must_not_be_repeated_is_not(admin: Face, service: Stepping) -> None:
    service.scripts = [breaking(10)]
    with pytest.raises(Unavailable) as caught:
        await admin("redrive_dead_letters")
    assert "10 items were done before that" in caught.value.__notes__
    service.scripts = [falling_silent()]
    with pytest.raises(DeadlineExceeded):
        await admin("redrive_dead_letters")
    assert service.streams == 2


async def test_letters_that_are_named_are_not_purged_twice(admin: Face, service: Stepping) -> None:
    service.scripts = [breaking(1), slowly(3, pause=0)]
    assert await admin("purge_dead_letters") == 4, "of all, those that are left"
    service.scripts = [breaking(1)]
    with pytest.raises(Unavailable) as caught:
        await admin("purge_dead_letters", ["a", "b"])
    assert "1 items were done before that" in caught.value.__notes__


async def test_a_flush_goes_on_when_a_broker_went_away(admin: Face, service: Stepping) -> None:
    service.scripts = [breaking(4), slowly(1, 2, 3, 4, pause=0.1)]
    assert (await admin("flush", timeout=20)).done == ["flushed"]


async def test_letters_of_an_answer_that_was_lost_come_with_the_next_call(admin: Face, service: Stepping) -> None:
    with pytest.raises(Exception, match="the answer is lost"):
        await admin("take_dead_letters")
    assert [letter.id for letter in await admin("take_dead_letters")] == ["taken"]
    assert await admin("take_dead_letters", queue="another") != []
    first, second, other = service.take_ids
    assert first == second
    assert other != first


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("clear_queue", {"queue": "q"}),
        ("purge_dead_letters", {}),
        ("redrive_dead_letters", {}),
        ("flush", {}),
        ("flush", {"force_delayed": True}),
        ("queue", {"queue": "q"}),
    ],
)
async def test_without_a_broker_none_of_them_waits_for_ever(kind: Kind, method: str, options: dict[str, Any]) -> None:
    with Dibs("127.0.0.1:1", timeout=0.5) as app:
        async with face(kind, app) as admin:
            began = time.monotonic()
            with pytest.raises((Unavailable, DeadlineExceeded)):
                await admin(method, **options)
            assert time.monotonic() - began < 10
