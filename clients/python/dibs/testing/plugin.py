"""The fixtures, for pytest, which finds them by itself where dibs is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..client.async_dibs import AsyncDibs
    from ..client.dibs import Dibs
    from .brokered import OnBroker
    from .in_memory import Eager, Recorded
    from .working import WithWorker


@pytest.fixture
def dibs_instances() -> Sequence[Dibs | AsyncDibs]:
    """The instances whose tasks are tested: the default one. Override it to name others."""
    from ..client.instance import default

    return [default()]


@pytest.fixture
def dibs_eager(dibs_instances: Sequence[Dibs | AsyncDibs]) -> Iterator[Eager]:
    """No broker: what is enqueued runs before `execute` returns; see `dibs.testing.eager`."""
    from .contexts import eager

    with eager(*dibs_instances) as kit:
        yield kit


@pytest.fixture
def dibs_recorded(dibs_instances: Sequence[Dibs | AsyncDibs]) -> Iterator[Recorded]:
    """No broker: what is enqueued waits until the test has it run; see `dibs.testing.recorded`."""
    from .contexts import recorded

    with recorded(*dibs_instances) as kit:
        yield kit


@pytest.fixture(scope="session")
def dibs_target() -> Iterator[str]:
    """Where the broker of the tests is: a private one, for the whole session. Override it to name another.

    Tests that need it are skipped where it cannot be started, and fail there in CI, where the environment says ``CI``.
    """
    from ..errors import DibsError
    from .broker_process import broker_process

    broker = broker_process()
    try:
        target = broker.__enter__()
    except DibsError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    try:
        yield target
    finally:
        broker.__exit__(None, None, None)


@pytest.fixture
def dibs_broker(dibs_target: str, dibs_instances: Sequence[Dibs | AsyncDibs]) -> Iterator[OnBroker]:
    """A real broker: what is enqueued waits there until the test has it run; see `dibs.testing.on_broker`."""
    from .contexts import on_broker

    with on_broker(dibs_target, *dibs_instances) as kit:
        yield kit


@pytest.fixture
def dibs_worker(dibs_target: str, dibs_instances: Sequence[Dibs | AsyncDibs]) -> Iterator[WithWorker]:
    """A real broker and a real worker: what is enqueued runs in its threads; see `dibs.testing.with_worker`."""
    from .contexts import with_worker

    with with_worker(dibs_target, *dibs_instances) as kit:
        yield kit
