"""Handles of enqueued tasks: what has become of them, and what they returned."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from ..rpc import flow as flows
from ..rpc.codec import decode_call
from ..rpc.runner import AsyncRunner, Runner
from ..rpc.times import Seconds
from .result_flows import cancel, get_result, get_results, look_up, wait_for
from .states import Cancelled, State, Status, state_from_wire

if TYPE_CHECKING:
    from ..codecs.sealing import Sealing
    from ..rpc.operations import Operation
    from ..rpc.placed import Placed
    from .types import TaskTypes

R = TypeVar("R")

#: Seconds that `wait` and `get` wait unless told otherwise.
DEFAULT_WAIT_SECONDS = 30.0


class Arguments(NamedTuple):
    """The arguments that a task was called with, as they came out of JSON."""

    args: list[Any]
    kwargs: dict[str, Any]


class EnqueuedTask(Generic[R]):
    """A task that was enqueued, as returned by `Task.execute` and `call_task`.

    Asking costs a call to the broker each time; nothing is kept here. A task that is done is remembered for its
    `save_results`; without that it is forgotten when it is done (one that is delivered at most once: when it starts),
    and counts as done.

    Attributes:
        taskid: its id.
        name: name of the task; empty if the handle was made from an id alone.
        queue: queue that it was put into; empty likewise.

    Example::

        handle = add.execute(2, 3)
        if handle.wait(5, until="done"):
            print(handle.result)
    """

    __slots__ = ("_dibs", "_placed", "_types", "name", "queue", "taskid")

    def __init__(
        self,
        dibs: Runner,
        taskid: str,
        name: str = "",
        queue: str = "",
        placed: Placed | None = None,
        types: TaskTypes | None = None,
    ) -> None:
        self._dibs = dibs
        self._placed = placed
        self._types = types
        self.taskid = taskid
        self.name = name
        self.queue = queue

    @property
    def created(self) -> bool | None:
        """Whether the call that this handle came from put it there, new or in the place of another of its id.

        False: a task of that id was there, and stays as it was (``on_conflict="keep"``, or a batch that ends with
        AlreadyExists). None: not known, because the batch has not been sent yet, or the handle was made of an id. Costs
        no call.
        """
        return self._placed.created if self._placed is not None else None

    @property
    def args(self) -> Arguments | None:
        """The arguments that it was called with, as ``(args, kwargs)``; None when it is done or forgotten."""
        return self._dibs.run(_arguments(self._dibs.namespace, self.taskid, self._dibs.sealing))

    @property
    def state(self) -> State:
        """Where it is in its life, exactly."""
        return self._dibs.run(_state(self._dibs.namespace, self.taskid))

    @property
    def status(self) -> Status:
        """Where it is in its life: ``early`` (delayed), ``late`` (due), ``waiting``, ``started`` or ``done``.

        Of a call that this handle came from nothing is known any more when it is done; a handle that was made of an id
        says ``unknown`` then, for it may never have been there.
        """
        return self._dibs.run(_status(self._dibs.namespace, self.taskid, enqueued=self._placed is not None))

    @property
    def result(self) -> R | None:
        """What it returned, without waiting; None when there is no result, for whatever reason."""
        value: R | None = self._dibs.run(_result(self._dibs.namespace, self.taskid, self._dibs.sealing, self._types))
        return value

    def wait(
        self, timeout: Seconds | None = DEFAULT_WAIT_SECONDS, until: Literal["started", "done"] = "started"
    ) -> bool:
        """Wait until it has started, or until it is done.

        What is over in any way has started, too, and so has what is not known any more.

        Args:
            timeout: how long, in seconds or as a timedelta; 0 does not wait, None waits for ever.
            until: ``"started"`` or ``"done"``.

        Returns:
            Whether it has got that far.
        """
        return self._dibs.run(wait_for(self._dibs.namespace, self.taskid, self.name, until, timeout))

    def get(self, timeout: Seconds | None = DEFAULT_WAIT_SECONDS) -> R:
        """Wait until it is done, and return what it returned.

        It is of the type that the function's annotation says, if this handle came from a call of the task; one that was
        made of an id has what JSON has. A worker in another language may have sent no result, which is None, or what is
        not JSON, which comes as bytes.

        Args:
            timeout: how long, in seconds or as a timedelta; None waits for ever.

        Raises:
            TaskFailed: it raised in its last attempt; the text is the remote traceback.
            TaskCancelled: somebody cancelled it.
            TaskNotFinished: it is not done in time.
            ResultUnavailable: it is done, and no result is kept (see `save_results`).
            PayloadError: its result is not what the annotation of the function says.
            CodecError: its result is encoded, and cannot be decoded here (`codec` of `Dibs`).
        """
        value: R = self._dibs.run(get_result(self._dibs.namespace, self.taskid, self.name, timeout, self._dibs.sealing))
        return value if self._types is None else self._types.read_result(value)

    def cancel(self) -> Cancelled:
        """Cancel it.

        Returns:
            What was found of it: it had not started and never will, runs and has been told (see `CURRENT_TASK`), was
            done and its result has been dropped, or is not known.
        """
        return self._dibs.run(cancel(self._dibs.namespace, self.taskid))

    def __repr__(self) -> str:
        """Name and id."""
        return f"<EnqueuedTask {self.name or '(unnamed)'} {self.taskid}>"


class AsyncEnqueuedTask(Generic[R]):
    """An `EnqueuedTask` for asyncio: the same names, to be awaited.

    Example::

        handle = await add.on(adibs).execute(2, 3)
        if await handle.wait(5, until="done"):
            print(await handle.result)
    """

    __slots__ = ("_dibs", "_placed", "_types", "name", "queue", "taskid")

    def __init__(
        self,
        dibs: AsyncRunner,
        taskid: str,
        name: str = "",
        queue: str = "",
        placed: Placed | None = None,
        types: TaskTypes | None = None,
    ) -> None:
        self._dibs = dibs
        self._placed = placed
        self._types = types
        self.taskid = taskid
        self.name = name
        self.queue = queue

    @property
    def created(self) -> bool | None:
        """As `EnqueuedTask.created`; not to be awaited."""
        return self._placed.created if self._placed is not None else None

    @property
    def args(self) -> _Awaited[Arguments | None]:
        """As `EnqueuedTask.args`; await it."""
        return _Awaited(self._dibs, _arguments(self._dibs.namespace, self.taskid, self._dibs.sealing))

    @property
    def state(self) -> _Awaited[State]:
        """As `EnqueuedTask.state`; await it."""
        return _Awaited(self._dibs, _state(self._dibs.namespace, self.taskid))

    @property
    def status(self) -> _Awaited[Status]:
        """As `EnqueuedTask.status`; await it."""
        return _Awaited(self._dibs, _status(self._dibs.namespace, self.taskid, enqueued=self._placed is not None))

    @property
    def result(self) -> _Awaited[R | None]:
        """As `EnqueuedTask.result`; await it."""
        return _Awaited(self._dibs, _result(self._dibs.namespace, self.taskid, self._dibs.sealing, self._types))

    async def wait(
        self, timeout: Seconds | None = DEFAULT_WAIT_SECONDS, until: Literal["started", "done"] = "started"
    ) -> bool:
        """As `EnqueuedTask.wait`."""
        return await self._dibs.run(wait_for(self._dibs.namespace, self.taskid, self.name, until, timeout))

    async def get(self, timeout: Seconds | None = DEFAULT_WAIT_SECONDS) -> R:
        """As `EnqueuedTask.get`."""
        value: R = await self._dibs.run(
            get_result(self._dibs.namespace, self.taskid, self.name, timeout, self._dibs.sealing)
        )
        return value if self._types is None else self._types.read_result(value)

    async def cancel(self) -> Cancelled:
        """As `EnqueuedTask.cancel`."""
        return await self._dibs.run(cancel(self._dibs.namespace, self.taskid))

    def __repr__(self) -> str:
        """Name and id."""
        return f"<AsyncEnqueuedTask {self.name or '(unnamed)'} {self.taskid}>"


class _Awaited(Generic[R]):
    """A value that is fetched when it is awaited; to be awaited once."""

    __slots__ = ("_dibs", "_flow")

    def __init__(self, dibs: AsyncRunner, flow: flows.Flow[R]) -> None:
        self._dibs = dibs
        self._flow = flow

    def __await__(self) -> Generator[Any, Any, R]:
        return self._dibs.run(self._flow).__await__()


def _state(namespace: str, id: str) -> Generator[Operation[Any], Any, State]:
    return state_from_wire((yield from look_up(namespace, id)).state)


def _status(namespace: str, id: str, *, enqueued: bool) -> Generator[Operation[Any], Any, Status]:
    state = yield from _state(namespace, id)
    return "done" if enqueued and state is State.UNKNOWN else state.status


def _result(
    namespace: str, id: str, sealing: Sealing | None, types: TaskTypes | None
) -> Generator[Operation[Any], Any, Any]:
    value = (yield from get_results(namespace, [id], sealing))[0]
    return value if types is None else types.read_result(value)


def _arguments(namespace: str, id: str, sealing: Sealing | None) -> Generator[Operation[Any], Any, Arguments | None]:
    found = yield from look_up(namespace, id, include_content=True)
    if not found.HasField("content"):
        return None
    content = found.content
    payload = content.payload if sealing is None else sealing.open_payload(id, content.task_name, content.payload)
    return Arguments(*decode_call(payload))
