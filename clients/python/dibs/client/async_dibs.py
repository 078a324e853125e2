"""`AsyncDibs`: the same as `Dibs`, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from ..codecs.codec import AnyCodec
from ..codecs.sealing import Sealing
from ..contract.names import QueueName
from ..data.aio_data import AsyncData
from ..enqueueing.aio_batch import AsyncBatch
from ..enqueueing.flows import enqueue_one
from ..enqueueing.gathering import enter_batch, leave_batch, open_batch
from ..enqueueing.sizes import UNREMARKABLE, check_sizes
from ..errors import DibsError, UnknownTask
from ..rpc import flow as flows
from ..rpc.aio_transport import AioTransport
from ..rpc.connection import Connection, ConnectionSettings
from ..rpc.encoding import ItemForm
from ..rpc.ids import new_id
from ..rpc.placed import Placed
from ..rpc.times import Seconds
from ..tasks.decorators import AsyncTaskDecorator, TaskArguments, cron_recipe, periodic_recipe, task_recipe
from ..tasks.definition import Definition
from ..tasks.handles import AsyncEnqueuedTask
from ..tasks.known_tasks import KnownTasks, elsewhere
from ..tasks.middleware import Middleware
from ..tasks.options import NO_OPTIONS, Options
from ..tasks.registry import Registry
from ..tasks.result_flows import get_results
from ..tasks.task import AsyncBinds, AsyncTask, BaseTask
from .administration import AsyncAdministration
from .dibs import Dibs
from .locks import AsyncLock

if TYPE_CHECKING:
    from typing import Unpack

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class AsyncDibs(AsyncAdministration, AsyncBinds):
    """A `Dibs` for asyncio: the same names, to be awaited. Belongs to the event loop of its first call.

    When that loop is closed, as `asyncio.run` does, the next call opens a connection in its own.

    Args:
        target: as for `Dibs`.
        namespace: as for `Dibs`.
        of: take connection, codec and tasks from that instance and share them; then nothing else is given.
        codec: as for `Dibs`.
        settings: the other arguments of `Dibs`.

    Raises:
        ValueError: as for `Dibs`.

    Example::

        async with AsyncDibs(of=dibs.default()) as adibs:
            handle = await add.on(adibs).execute(2, 3)
            print(await handle.get(timeout=10))
    """

    def __init__(
        self,
        target: str | None = None,
        namespace: str | None = None,
        *,
        of: Dibs | None = None,
        codec: AnyCodec | None = None,
        **settings: Unpack[ConnectionSettings],
    ) -> None:
        if of is not None and (target is not None or namespace is not None or codec is not None or settings):
            raise ValueError("of goes without the other arguments")
        self._of = of if of is not None else Dibs(target, namespace, codec=codec, **settings)
        self._transport: AioTransport | None = None
        self._known_tasks = KnownTasks()

    @property
    def of(self) -> Dibs:
        """The instance that it shares connection and tasks with."""
        return self._of

    @property
    def registry(self) -> Registry[BaseTask[..., Any]]:
        """The tasks of this instance, by name."""
        return self._of.registry

    @property
    def connection(self) -> Connection:
        """Where the broker is and how it is reached."""
        return self._of.connection

    @property
    def namespace(self) -> str:
        """The namespace of everything done here."""
        return self._of.namespace

    @property
    def sealing(self) -> Sealing | None:
        """What encodes and decodes payloads and results; None: they are plain."""
        return self._of.sealing

    @property
    def transport(self) -> AioTransport:
        """Runs single calls."""
        if self._transport is None or self._transport.connection is not self.connection:
            self._transport = AioTransport(self.connection)
        return self._transport

    async def close(self) -> None:
        """Close the connection. The next call opens it again."""
        if self._transport is not None:
            await self._transport.close()
        self._transport = None

    async def __aenter__(self) -> AsyncDibs:
        """For use in an ``async with``, which closes the connection at its end."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.close()

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> AsyncTask[P, R]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        queue: QueueName | None = None,
        *,
        name: str | None = None,
        **arguments: Unpack[TaskArguments],
    ) -> AsyncTaskDecorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        queue: QueueName | None = None,
        *,
        name: str | None = None,
        **arguments: Unpack[TaskArguments],
    ) -> Any:
        """As `Dibs.task`; the task's `execute` and `retry` are to be awaited."""
        decorator = AsyncTaskDecorator(self, task_recipe(queue, name, **arguments))
        return decorator if function is None else decorator(function)

    def periodic_task(
        self,
        run_every: Seconds,
        queue: QueueName | None = None,
        never_skip: bool = False,
        *,
        low_delay_okay: bool = False,
        name: str | None = None,
        **arguments: Unpack[TaskArguments],
    ) -> AsyncTaskDecorator:
        """As `Dibs.periodic_task`."""
        return AsyncTaskDecorator(
            self, periodic_recipe(run_every, queue, name, never_skip, low_delay_okay, **arguments)
        )

    def cron_task(
        self,
        crontab: str,
        queue: QueueName | None = None,
        never_skip: bool = False,
        *,
        timezone: str | tzinfo | None = None,
        seconds: bool = False,
        name: str | None = None,
        **arguments: Unpack[TaskArguments],
    ) -> AsyncTaskDecorator:
        """As `Dibs.cron_task`."""
        return AsyncTaskDecorator(self, cron_recipe(crontab, queue, name, never_skip, timezone, seconds, **arguments))

    def use(self, *middleware: Middleware) -> None:
        """As `Dibs.use`; not to be awaited."""
        self._of.use(*middleware)

    def bind(self, definition: Definition, options: Options = NO_OPTIONS) -> AsyncTask[..., Any]:
        """A task of that definition that is enqueued through this instance; see `Task.on`."""
        return AsyncTask(definition, self, options)

    def get_task(self, name: str) -> AsyncTask[..., Any]:
        """As `Dibs.get_task`."""
        return self.bind(self.registry.get(name).definition)

    async def known_tasks(self) -> list[str]:
        """As `Dibs.known_tasks`."""
        return sorted({*self.registry.names(), *await self.run(self._known_tasks.names(self.namespace))})

    async def call_task(
        self, name: str, queue: QueueName | None, *args: Any, _verify_call: bool = False, **kwargs: Any
    ) -> AsyncEnqueuedTask[Any]:
        """As `Dibs.call_task`."""
        here = self.registry.find(name)
        definition = here.definition if here else await self.run(self._known_tasks.find(self.namespace, name))
        if definition is None:
            if _verify_call:
                raise UnknownTask(name)
            definition = Definition(elsewhere, queue=queue, name=name)
        handle: AsyncEnqueuedTask[Any] = await self.bind(definition).execute(*args, **kwargs)
        return handle

    def handle(self, taskid: str) -> AsyncEnqueuedTask[Any]:
        """As `Dibs.handle`."""
        return AsyncEnqueuedTask(self, taskid)

    async def result(self, taskid: str) -> Any:
        """As `Dibs.result`."""
        return (await self.run(get_results(self.namespace, [taskid], self.sealing)))[0]

    async def results(self, taskids: Iterable[str]) -> list[Any]:
        """As `Dibs.results`."""
        return await self.run(get_results(self.namespace, taskids, self.sealing))

    def Data(
        self,
        queue: QueueName,
        attempts: int | None = None,
        vis_timeout: Seconds = 0,
        use_dead: bool | QueueName | None = None,
        is_tasks: bool = False,
        is_dead: bool = False,
    ) -> AsyncData:
        """As `Dibs.Data`, its methods to be awaited."""
        return AsyncData(self, queue, attempts, vis_timeout, use_dead, is_tasks, is_dead)

    def lock(self, name: str, duration: Seconds = 1) -> AsyncLock:
        """As `Dibs.lock`, for ``async with``."""
        return AsyncLock(self, name, duration)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[AsyncBatch]:
        """As `Dibs.batch`, for ``async with``; coroutines that are started inside share it.

        Requests are under way side by side here, so calls of different requests may change places in a queue.
        """
        outer = open_batch(self)
        if outer is not None:
            yield outer  # type: ignore[misc]  # the batches of an AsyncDibs are awaitable
            return
        batch = AsyncBatch(self)
        enter_batch(batch)
        try:
            try:
                yield batch
            except Exception as error:
                try:
                    if not batch.broken:
                        await batch.flush()
                        batch.raise_refusals()
                except DibsError as second:
                    error.add_note(f"and calls of the batch were not enqueued: {second}")
                raise
            await batch.flush()
            batch.raise_refusals()
        finally:
            leave_batch(batch)
            await batch.close()

    async def put(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """As `Dibs.put`."""
        batch = open_batch(self)
        if batch is None:
            return await self.put_now(form, payload, id)
        if len(payload) > UNREMARKABLE and self.sealing is None:
            await self.run_now(check_sizes((payload,), self.transport.limits))
        placed = batch.add(form, payload, id)
        if batch.full:
            await batch.send()  # type: ignore[attr-defined]  # as in `batch`
        return placed

    async def put_now(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """As `Dibs.put_now`."""
        placed = Placed(id or new_id())
        sealing = self.sealing
        entry = form.entry(placed.id, payload) if sealing is None else form.sealed_entry(placed.id, payload, sealing)
        if len(entry) > UNREMARKABLE:
            await self.run_now(check_sizes((entry,), self.transport.limits))
        return await self.run_now(enqueue_one(self.namespace, entry, placed))

    async def run(self, flow: flows.Flow[T]) -> T:
        """As `Dibs.run`."""
        batch = open_batch(self)
        before = None if batch is None else batch.flush  # type: ignore[attr-defined]  # as in `batch`
        return await self.transport.carry(flow, before)

    async def run_now(self, flow: flows.Flow[T]) -> T:
        """Run a flow whether or not a batch has gathered anything."""
        return await self.transport.carry(flow)
