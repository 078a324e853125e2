"""The tasks that the benchmark's worker runs."""

from __future__ import annotations

import os
import struct
import time
from functools import cache

import dibs

from .tally import Tally, from_environment


@cache
def _tally() -> Tally:
    return from_environment()


@dibs.task(queue="bench", name="once")
def once(item: int) -> None:
    """At most once."""
    _tally().hit(item)


@dibs.task(queue="bench", name="again", vis_timeout=60, attempts=3)
def again(item: int) -> None:
    """At least once: lease, token, ack."""
    _tally().hit(item)


@dibs.task(queue="bench", name="kept", save_results=600)
def kept(item: int) -> int:
    """At most once, its result kept."""
    _tally().hit(item)
    return item


@dibs.task(queue="bench", name="stamp")
def stamp(item: int) -> None:
    """Write down when it started."""
    with open(os.environ["DIBS_BENCH_TALLY"], "r+b") as file:
        file.seek(item * 8)
        file.write(struct.pack("<d", time.monotonic()))
