"""Tasks that would end the thread or the event loop that they run in: they fail, and the lane goes on."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.process.slots import Slots
from dibs.worker.process.waits import Waits
from dibs.worker.shared.bell import LoopBell
from dibs.worker.shared.entries import Entries
from dibs.worker.shared.memory import Table
from dibs.worker.shared.settings import WorkerSettings
from dibs.worker.shared.sorts import Sort

from ..support.waiting import until
from ..support.workers import Job

ENDINGS = [SystemExit, KeyboardInterrupt, GeneratorExit, OSError, asyncio.CancelledError]


class Lane:
    """Slots of one sort, and what came of the items that they were dealt."""

    def __init__(self, is_async: bool, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._entries = Entries(LoopBell())
        tasks = {name: Job(name, function, is_async) for name, function in functions.items()}
        sort = Sort.ASYNC if is_async else Sort.PLAIN
        self.slots = Slots(sort, tasks, WorkerSettings(), self._entries, Table.new(), Waits(tasks, WorkerSettings()))
        self.slots.start()

    def run(self, *names: str) -> pb.WorkRequest:
        """What is said when items of these tasks, which are their ids as well, have ended."""
        self.deal(*names)
        until(lambda: self.slots.held == 0)
        return self._entries.take()[0]

    def deal(self, *names: str) -> None:
        items = [
            tpb.Delivery(
                id=name,
                lease_token=7,
                content=tpb.Content(task_name=name, payload=b"{}"),
                lease_timeout=Duration(seconds=30),
                keep_result=True,
            )
            for name in names
        ]
        self.slots.deal(items, self.slots.dealt, 1e9, 0)


@pytest.fixture
def make_lane() -> Iterator[Callable[..., Lane]]:
    made: list[Lane] = []

    def make(*, is_async: bool, **functions: Callable[..., Any]) -> Lane:
        made.append(Lane(is_async, functions))
        return made[-1]

    yield make
    for lane in made:
        lane.slots.stop(5)


def of_sort(function: Callable[[], Any], *, is_async: bool) -> Callable[..., Any]:
    async def coroutine() -> Any:
        return function()

    return coroutine if is_async else function


class Unreadable(dict[str, int]):
    """A result that raises when somebody looks at it, as lazy ones do."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__(a=1)
        self._error = error

    def items(self) -> NoReturn:
        raise self._error("while it was read")


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("error", ENDINGS, ids=lambda error: error.__name__)
def test_a_result_that_cannot_be_read_fails_its_task_and_nothing_else(
    make_lane: Callable[..., Lane], error: type[BaseException], is_async: bool
) -> None:
    lane = make_lane(
        is_async=is_async,
        bad=of_sort(lambda: Unreadable(error), is_async=is_async),
        good=of_sort(lambda: 1, is_async=is_async),
    )
    said = lane.run("bad", "good")
    assert [ack.id for ack in said.acks] == ["good"]
    (nack,) = said.nacks
    assert (nack.id, nack.reason) == ("bad", pb.NACK_REASON_REJECTED)
    assert nack.error.startswith("the result of task bad cannot be read:\n")
    assert f"{error.__name__}: while it was read" in nack.error
    # From the user's own frames on.
    assert nack.error.splitlines()[2].startswith(f'  File "{__file__}"')


class Unspeakable(Exception):
    """An error whose own code raises when it is told."""

    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit(1)

    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_an_error_that_cannot_be_told_is_told_by_its_name(make_lane: Callable[..., Lane], is_async: bool) -> None:
    def bad() -> NoReturn:
        raise Unspeakable

    lane = make_lane(is_async=is_async, bad=of_sort(bad, is_async=is_async), good=of_sort(lambda: 1, is_async=is_async))
    said = lane.run("bad", "good")
    assert [ack.id for ack in said.acks] == ["good"]
    assert "Unspeakable" in said.nacks[0].error


def test_a_task_that_stops_its_loop_ends_as_if_it_had_not(
    make_lane: Callable[..., Lane], caplog: pytest.LogCaptureFixture
) -> None:
    async def stop() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
        return "stopped"

    async def beside() -> str:
        await asyncio.sleep(0.02)
        return "beside"

    lane = make_lane(is_async=True, stop=stop, beside=beside)
    for _ in range(3):
        assert {ack.result for ack in lane.run("beside", "stop").acks} == {b'"stopped"', b'"beside"'}
    assert "a task has stopped the event loop" in caplog.text
    assert "stop" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt], ids=lambda error: error.__name__)
def test_what_a_task_starts_beside_itself_ends_no_loop(
    make_lane: Callable[..., Lane], error: type[BaseException]
) -> None:
    async def ends() -> None:
        raise error("of a part")

    async def parts() -> None:
        await asyncio.create_task(ends())

    async def callback() -> str:
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.sleep(0.01)
        return "went on"

    lane = make_lane(is_async=True, parts=parts, callback=callback)
    said = lane.run("parts", "callback")
    assert [(nack.id, f"{error.__name__}: of a part" in nack.error) for nack in said.nacks] == [("parts", True)]
    assert [ack.result for ack in said.acks] == [b'"went on"']


def test_a_loop_beyond_repair_is_replaced_and_what_ran_in_it_has_failed(make_lane: Callable[..., Lane]) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    def closed(timeout: float | None) -> NoReturn:
        raise OSError(errno.EBADF, "Bad file descriptor")

    async def breaks() -> None:
        loop: Any = asyncio.get_running_loop()
        loops.append(loop)
        loop._selector.select = closed
        await asyncio.sleep(60)

    async def beside() -> None:
        await asyncio.sleep(60)

    async def good() -> int:
        return 1

    lane = make_lane(is_async=True, breaks=breaks, beside=beside, good=good)
    said = lane.run("beside", "breaks")
    assert {nack.id for nack in said.nacks} == {"beside", "breaks"}
    assert all("the event loop that it ran in broke: OSError" in nack.error for nack in said.nacks)
    assert [ack.id for ack in lane.run("good").acks] == ["good"]
    # The lane never closes it: a task may have closed its descriptors, and others have their numbers.
    assert not loops[0].is_closed()
    loops[0].close()


def test_a_time_limit_that_strikes_between_two_tasks_ends_no_thread(
    make_lane: Callable[..., Lane], caplog: pytest.LogCaptureFixture
) -> None:
    threads: list[int] = []
    lane = make_lane(is_async=False, note=lambda: threads.append(threading.get_ident()))
    for _ in range(3):
        assert [ack.id for ack in lane.run("note").acks] == ["note"]
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threads[0]), ctypes.py_object(TimeoutError))
    assert len(set(threads)) == 1
    assert "a thread of tasks was interrupted" in caplog.text
