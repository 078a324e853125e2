"""Two brokers on one Redis, each a process that tests end and start again."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from .ports import free_port
from .processes import Broker, running_broker


class Member:
    """A broker on a port that it keeps from life to life.

    Args:
        options: of `dibs broker`.

    Attributes:
        address: where it listens.
    """

    def __init__(self, *options: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._options = options
        self._life = ExitStack()
        self._broker: Broker | None = None

    @property
    def broker(self) -> Broker:
        """Its present life, or the last one."""
        assert self._broker is not None, "it has not been started"
        return self._broker

    def start(self) -> None:
        """Starts it; returns when it listens."""
        self._life.close()
        self._broker = self._life.enter_context(running_broker(*self._options, listen=self.address))

    def freeze(self) -> None:
        """Its connections stay, and it says nothing any more."""
        self.broker.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undoes `freeze`."""
        self.broker.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ends it without any warning; nothing if it has ended, or was never started."""
        if self._broker is not None:
            self._broker.kill()
        self._life.close()


class Fleet:
    """The brokers, and nothing left of them after the with; `start` them first.

    Args:
        redis_url: their Redis.
        options: of both.

    Attributes:
        members: the two.
    """

    def __init__(self, redis_url: str, *options: str) -> None:
        self.members = [Member("--redis", redis_url, *options) for _ in range(2)]

    @property
    def addresses(self) -> list[str]:
        """Where they listen."""
        return [member.address for member in self.members]

    def start(self) -> None:
        """Starts both, side by side."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(Member.start, self.members))

    def __enter__(self) -> Fleet:
        """As it is."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends both: the test is over, and a drain takes its time."""
        for member in self.members:
            member.end()
