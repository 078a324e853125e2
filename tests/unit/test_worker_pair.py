"""The two ends between a connector and a task process."""

from __future__ import annotations

import os
import resource
from itertools import count, islice

import pytest

from dibs.worker.shared.pair import new_pair


def descriptors() -> set[int]:
    return {number for number in map(int, os.listdir("/dev/fd")) if is_open(number)}


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("spare", range(5))
def test_a_pair_that_cannot_be_made_leaves_no_descriptor_open(spare: int) -> None:
    before = descriptors()
    free = (number for number in count() if number not in before)
    limit = next(islice(free, spare, None))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            new_pair()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert descriptors() == before
