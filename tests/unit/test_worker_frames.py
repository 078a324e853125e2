"""Frames between a connector and a task process."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from dibs.connection import Connection
from dibs.v1 import admin_pb2 as apb
from dibs.worker import frames
from dibs.worker.hello import Hello, UnknownFormat

SOME = [
    (frames.DONE, 1, 2, 3, b"body"),
    (frames.ITEMS, 2**32 - 1, 0, 0, bytes(100_000)),
    (frames.TAKE, 0, 0, 0, b""),
    (frames.STOP, 5_000, 0, 0, b""),
]


def test_frames_that_are_cut_anywhere_are_put_together_again() -> None:
    data = b"".join(frames.frame(*one) for one in SOME)
    for seed in range(200):
        chance = random.Random(seed)
        cuts = [0, *sorted(chance.choices(range(len(data)), k=chance.randrange(40))), len(data)]
        reader = frames.Reader()
        got = [frame for start, end in pairwise(cuts) for frame in reader.feed(data[start:end])]
        assert got == SOME, f"seed {seed}"


def test_frames_byte_by_byte() -> None:
    reader = frames.Reader()
    data = b"".join(frames.frame(*one) for one in SOME if len(one[4]) < 100)
    got = [frame for byte in data for frame in reader.feed(bytes([byte]))]
    assert got == [one for one in SOME if len(one[4]) < 100]


def test_the_end_of_a_process_that_was_killed_while_it_wrote_is_no_frame() -> None:
    data = frames.frame(frames.DONE, body=b"entries")
    assert frames.Reader().feed(data[:-1]) == []


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n", frames.HEAD.pack(frames.DONE, 2**31, 0, 0, 0)])
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
        task_names=["a", "ä"],
        slots=4,
        connection=connection,
        group="shop.tasks",
        tasks=[apb.TaskDefinition(name="a", queue="q")],
        schedules=[apb.Schedule(name="a", cron="* * * * *")],
    )


def test_a_hello_tells_the_connector_all_that_it_needs() -> None:
    (frame,) = frames.Reader().feed(hello().to_frame())
    got = Hello.from_frame(frame)
    assert (got.task_names, got.slots, got.group) == (["a", "ä"], 4, "shop.tasks")
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
    other = frame._replace(body=frame.body.replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(UnknownFormat, match="format 2, its connector 1: restart both"):
        Hello.from_frame(other)
