"""Frames between a connector and a task process."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from dibs.rpc.connection import Connection
from dibs.v1 import admin_pb2 as apb
from dibs.worker.shared import frames
from dibs.worker.shared.hello import Hello, LaneHello, UnknownFormat
from dibs.worker.shared.sorts import Sort

SOME = [
    frames.Frame(frames.DONE, 0, 1, 2, 3, b"body"),
    frames.Frame(frames.ITEMS, 1, 2**32 - 1, 0, 0, bytes(100_000)),
    frames.Frame(frames.TAKE, 1, 0, 0, 0, b""),
    frames.Frame(frames.STOP, 0, 5_000, 0, 0, b""),
]


def written(one: frames.Frame) -> bytes:
    return frames.frame(one.kind, one.a, one.b, one.c, one.body, lane=one.lane)


def test_frames_that_are_cut_anywhere_are_put_together_again() -> None:
    data = b"".join(map(written, SOME))
    for seed in range(200):
        chance = random.Random(seed)
        cuts = [0, *sorted(chance.choices(range(len(data)), k=chance.randrange(40))), len(data)]
        reader = frames.Reader()
        got = [frame for start, end in pairwise(cuts) for frame in reader.feed(data[start:end])]
        assert got == SOME, f"seed {seed}"


def test_frames_byte_by_byte() -> None:
    reader = frames.Reader()
    data = b"".join(written(one) for one in SOME if len(one.body) < 100)
    got = [frame for byte in data for frame in reader.feed(bytes([byte]))]
    assert got == [one for one in SOME if len(one.body) < 100]


def test_the_end_of_a_process_that_was_killed_while_it_wrote_is_no_frame() -> None:
    data = frames.frame(frames.DONE, body=b"entries")
    assert frames.Reader().feed(data[:-1]) == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        frames.HEAD.pack(frames.DONE, 0, 2**31, 0, 0, 0),
        frames.HEAD.pack(frames.DONE, 2, 0, 0, 0, 0),
    ],
)
def test_what_cannot_be_a_frame_is_refused(data: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.Reader().feed(data)


@pytest.mark.parametrize(
    ("positions", "ranges"),
    [
        ([7], [(7, 1)]),
        ([5, 6, 7], [(5, 3)]),
        ([7, 5, 6], [(5, 3)]),
        ([1, 2, 9, 11, 10, 4], [(1, 2), (4, 1), (9, 3)]),
        ([0, 65_535], [(0, 1), (65_535, 1)]),
    ],
)
def test_positions_are_told_as_ranges(positions: list[int], ranges: list[tuple[int, int]]) -> None:
    assert frames.ranges(positions) == ranges


def hello() -> Hello:
    connection = Connection.build(
        "dns:///localhost:7411",
        "shop",
        token="secret",
        try_timeout=7,
        channel_options=[("grpc.keepalive_time_ms", 1), ("x", object())],
    )
    return Hello(
        lanes={Sort.PLAIN: LaneHello(["a", "ä"], 4), Sort.ASYNC: LaneHello(["b"], 100)},
        connection=connection,
        group="shop.tasks",
        tasks=[apb.TaskDefinition(name="a", queue="q")],
        schedules=[apb.Schedule(name="a", cron="* * * * *")],
    )


def test_a_hello_tells_the_connector_all_that_it_needs() -> None:
    (frame,) = frames.Reader().feed(hello().to_frame())
    got = Hello.from_frame(frame)
    assert (got.task_names, got.lanes, got.group) == (["a", "ä", "b"], hello().lanes, "shop.tasks")
    assert (got.tasks, got.schedules) == (hello().tasks, hello().schedules)
    assert (got.connection.target, got.connection.namespace, got.connection.token) == (
        "dns:///localhost:7411",
        "shop",
        "secret",
    )
    assert got.connection.try_timeout == 7
    # What is no plain value is for channels of the process itself.
    assert got.connection.channel_options == (("grpc.keepalive_time_ms", 1),)


def test_a_process_of_another_version_is_told_in_a_sentence() -> None:
    (frame,) = frames.Reader().feed(hello().to_frame())
    other = frame._replace(body=frame.body.replace(b'"format": 3', b'"format": 4'))
    with pytest.raises(UnknownFormat, match="format 4, its connector 3: restart both"):
        Hello.from_frame(other)
