"""The kits as context managers, for those who do not use pytest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..client.async_dibs import AsyncDibs
from ..client.dibs import Dibs
from ..client.instance import default
from .broker_process import broker_process
from .brokered import OnBroker
from .in_memory import Eager, Recorded
from .working import WithWorker


@contextmanager
def eager(*instances: Dibs | AsyncDibs) -> Iterator[Eager]:
    """Inside the with, what is enqueued runs before `execute` returns, in the thread that called it.

    Arguments and results go through JSON. Attempts, retries, dead letters, delays, schedules, results and cancelling
    are as with a broker, on a clock of its own: `Eager.advance` moves it, and so does whoever waits. What a running
    task enqueues runs after it, or when it waits for it.

    Args:
        instances: whose tasks. Default: the default instance.

    Example::

        with dibs.testing.eager() as kit:
            assert add.execute(2, 3).get() == 5
    """
    kit = Eager(instances or [default()])
    with kit.lent():
        yield kit


@contextmanager
def recorded(*instances: Dibs | AsyncDibs) -> Iterator[Recorded]:
    """Inside the with, what is enqueued waits until `Recorded.run_all`, or for ever; otherwise as `eager`.

    Args:
        instances: whose tasks. Default: the default instance.

    Example::

        with dibs.testing.recorded() as kit:
            place_order(7)
            assert kit.calls == [dibs.testing.call(ship, 7)]
    """
    kit = Recorded(instances or [default()])
    with kit.lent():
        yield kit


@contextmanager
def private_broker() -> Iterator[str]:
    """Inside the with, a real broker with a private Redis runs, as a process of its own. Needs ``dibs[broker]``.

    Yields:
        where it is, for `on_broker` and `with_worker`.

    Raises:
        DibsError: it does not start; the text says why, such as that there is no Redis server.
    """
    with broker_process() as target:
        yield target


@contextmanager
def on_broker(target: str, *instances: Dibs | AsyncDibs) -> Iterator[OnBroker]:
    """Inside the with, what is enqueued waits in a real broker until `OnBroker.run_all` runs it in this thread.

    Args:
        target: where the broker is. Each instance has a namespace of its own there, which is removed at the end.
        instances: whose tasks. Default: the default instance.

    Raises:
        BrokerError: the broker does not answer.

    Example::

        with private_broker() as target, on_broker(target) as kit:
            add.execute(2, 3)
            kit.run_all()
    """
    kit = OnBroker(target, instances or [default()])
    with kit.lent():
        yield kit


@contextmanager
def with_worker(target: str, *instances: Dibs | AsyncDibs, threads: int = 1) -> Iterator[WithWorker]:
    """Inside the with, a real worker in threads of this process runs what is enqueued. Needs ``dibs[worker]``.

    Args:
        target: as for `on_broker`.
        instances: as for `on_broker`.
        threads: how many plain functions run at once.

    Raises:
        BrokerError: the broker does not answer.

    Example::

        with private_broker() as target, with_worker(target) as kit:
            assert add.execute(2, 3).get() == 5
    """
    kit = WithWorker(target, instances or [default()], threads)
    with kit.lent():
        yield kit
