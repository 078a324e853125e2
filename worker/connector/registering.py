"""Tells the broker, when a worker starts, which tasks it runs and which of them run by themselves."""

from __future__ import annotations

import asyncio
import logging

from dibs.admin.registration import Registered, registration
from dibs.contract.pauses import Pauses
from dibs.errors import BrokerError
from dibs.rpc.aio_transport import AioTransport
from dibs.rpc.retry import is_transient

from ..shared.hello import Hello
from ..shared.logs import Said

_log = logging.getLogger("dibs.worker")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0


async def register(hello: Hello) -> None:
    """Register tasks and schedules, trying until a broker answers.

    What a broker refuses is logged, and the worker goes on without it: the tasks run all the same when they are called.

    Args:
        hello: what there is to register, and where.
    """
    group = hello.group
    transport = AioTransport(hello.connection)
    pauses = Pauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
    try:
        while True:
            try:
                flow = registration(hello.connection.namespace, hello.tasks, hello.schedules, group)
                _tell(await transport.carry(flow), group)
                return
            except BrokerError as error:
                if not is_transient(error):
                    _log.error(Said("tasks and schedules are not registered", group=group, reason=str(error)))
                    return
                pause_s = pauses.next_s()
                _log.warning(Said("no broker to register with, trying again", reason=str(error), pause=pause_s))
                await asyncio.sleep(pause_s)
    except Exception:  # noqa: BLE001 - the work goes on without it
        _log.exception(Said("tasks and schedules are not registered", group=group))
    finally:
        await transport.close()


class Registering:
    """Registers beside the work, which can begin without it."""

    def __init__(self) -> None:
        #: What was registered last, and the doing of it.
        self._hello: Hello | None = None
        self._doing: set[asyncio.Task[None]] = set()

    def know(self, hello: Hello) -> None:
        """Register this, unless it is what was registered last."""
        last = self._hello
        if last is None or (last.group, last.tasks, last.schedules) != (hello.group, hello.tasks, hello.schedules):
            self._hello = hello
            self.again()

    def again(self) -> None:
        """Register what was last, whatever a broker has been told before: what is under way is begun anew."""
        assert self._hello is not None, "a stream begins after the first hello"
        for task in self._doing:
            task.cancel()
        task = asyncio.create_task(register(self._hello), name="dibs-worker-register")
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)

    async def close(self) -> None:
        """Give up what is under way."""
        doing = list(self._doing)
        for task in doing:
            task.cancel()
        await asyncio.gather(*doing, return_exceptions=True)


def _tell(done: Registered, group: str) -> None:
    for name, reason in done.refused.items():
        _log.error(Said("refused by the broker", name=name, reason=reason))
    if done.unchecked:
        _log.warning(
            Said("the broker takes no schema that long: calls by name are not checked", tasks=", ".join(done.unchecked))
        )
    fields: dict[str, object] = {"group": group, "tasks": done.tasks, "schedules": done.schedules}
    if done.removed:
        fields["removed"] = ", ".join(done.removed)
    _log.info(Said("registered", **fields))
