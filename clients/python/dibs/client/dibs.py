"""`Dibs`: one connection to a broker, one namespace, and the tasks that belong to it."""

from __future__ import annotations

import importlib
import logging
from asyncio import _get_running_loop
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..codecs.codec import AnyCodec, codecs_of
from ..codecs.sealing import Sealing
from ..contract.names import QueueName
from ..data.data import Data
from ..enqueueing.batch import Batch
from ..enqueueing.flows import enqueue_one
from ..enqueueing.gathering import enter_batch, leave_batch, open_batch
from ..enqueueing.line import DirectLine, EnqueueLine
from ..enqueueing.sizes import UNREMARKABLE, check_sizes
from ..errors import DibsError, InvalidArgument, UnknownTask
from ..rpc import flow as flows
from ..rpc import forking
from ..rpc.connection import Connection, ConnectionSettings, check_names
from ..rpc.encoding import EncodedRequest, ItemForm
from ..rpc.ids import new_id
from ..rpc.operations import Operation
from ..rpc.placed import Placed
from ..rpc.rpcs import ENQUEUE
from ..rpc.times import Seconds
from ..rpc.transport import Transport
from ..tasks.definition import Definition
from ..tasks.handles import EnqueuedTask
from ..tasks.known_tasks import KnownTasks, elsewhere
from ..tasks.making import TaskMaking
from ..tasks.middleware import Middleware
from ..tasks.options import NO_OPTIONS, Options
from ..tasks.registry import Registry
from ..tasks.result_flows import get_results
from ..tasks.task import BaseTask, CoroutineTask, Task
from ..v1 import broker_pb2 as pb
from .administration import Administration
from .locks import SimpleLock

if TYPE_CHECKING:
    from typing import Unpack

_log = logging.getLogger("dibs")

T = TypeVar("T")


class Dibs(Administration, TaskMaking):
    """Tasks and calls of one broker and one namespace. Safe to use from any thread.

    Also in a process that was forked, unless something kept gRPC running in its parent: then the first call raises
    `DibsError`, which says what to do.

    Nothing is connected before the first call. What is not given comes from the environment at that moment:
    `DIBS_TARGET`, `DIBS_NAMESPACE`, `DIBS_TOKEN`, `DIBS_TOKEN_FILE`, `DIBS_CA_FILE`, `DIBS_CLIENT_CERT_FILE`,
    `DIBS_CLIENT_KEY_FILE`.

    Args:
        target: where the broker is: ``host:port``, ``unix:/path``, ``https://host:port`` for TLS. A host without a
            port has 7411, or 443 after ``https://``. Default ``127.0.0.1:7411``.
        namespace: isolated set of queues, tasks and results on that broker. Default ``default``.
        timeout: how long a call may take with all its retries; seconds or a timedelta. Default 30 s.
        try_timeout: how long its first attempt may take, without what the call itself waits for: then it is made again,
            if it may be, over another connection, and may take twice as long. Default 5 s.
        token: bearer token; needs TLS unless the broker is on this machine.
        token_file: file with the token, for tokens that expire: it is read again, at most once a second. Who renews it
            moves another file into its place. `token` goes before it.
        tls: use TLS. Default: if `ca`, `cert` or `key` is there, or the target says ``https://``.
        ca: PEM file with the authorities to trust. Default: the system's.
        cert: PEM file with the client's certificate chain, for mutual TLS.
        key: PEM file with the key of `cert`.
        channel_options: further gRPC channel options.
        codec: encodes payloads and results, such as ``[Zlib(), AesGcm(keys)]``: one, or several to be applied in that
            order. Workers need the same instance, or the same codec. Default: they are plain.

    Raises:
        TypeError: `codec` is none.
        ValueError: a value is out of range, a target is none, a certificate has no key, or a token would travel
            unencrypted.

    Example::

        billing = Dibs("queue.example.org:7411", namespace="billing")

        @billing.task(lease=30)
        def charge(customer: int) -> None: ...

        charge.execute(17)
    """

    def __init__(
        self,
        target: str | None = None,
        namespace: str | None = None,
        *,
        codec: AnyCodec | None = None,
        **settings: Unpack[ConnectionSettings],
    ) -> None:
        #: The tasks of this instance, by name.
        self.registry: Registry[BaseTask[..., Any]] = Registry()
        self.plain: Options | None = NO_OPTIONS
        self._known_tasks = KnownTasks()
        self._lock = forking.Mutex()
        self._connection: Connection | None = None
        self._transport: Transport | None = None
        self._line: EnqueueLine | None = None
        #: Whether the log has said that calls hold up an event loop. Written by any thread, at worst twice.
        self._told_of_loop = False
        self._codecs = codecs_of(codec)
        check_names(settings)
        if any(value is not None and value != () for value in (target, namespace, *settings.values())):
            self._connection = Connection.build(target, namespace, **settings)

    # Connecting

    def connect(
        self,
        target: str | None = None,
        namespace: str | None = None,
        *,
        codec: AnyCodec | None = None,
        **settings: Unpack[ConnectionSettings],
    ) -> None:
        """Say where the broker is; also for tasks that exist already. Arguments and errors as for `Dibs`.

        May be called again: what comes later goes to the new place, with the new codec or none. The connection itself
        is made by the first call.

        Example::

            dibs.connect("queue.example.org:7411", namespace="billing")
        """
        codecs = codecs_of(codec)
        self.reconnect(Connection.build(target, namespace, **settings))
        self._codecs = codecs

    def reconnect(self, connection: Connection | None) -> Connection | None:
        """Use another connection from now on.

        Args:
            connection: it; None: one that the environment describes at the next call.

        Returns:
            The one that was used before; None: there was none yet.
        """
        # First, so that another thread that opens a transport meanwhile does so for the new place.
        with self._lock:
            before, self._connection = self._connection, connection
        self.close()
        return before

    @property
    def connection(self) -> Connection:
        """Where the broker is and how it is reached."""
        if self._connection is None:
            self._connection = Connection.build()
        return self._connection

    @property
    def namespace(self) -> str:
        """The namespace of everything done here."""
        return self.connection.namespace

    @property
    def sealing(self) -> Sealing | None:
        """What encodes and decodes payloads and results; None: they are plain."""
        codecs = self._codecs
        return None if codecs is None else Sealing(codecs, self.namespace)

    @property
    def transport(self) -> Transport:
        """Runs single calls."""
        transport = self._transport
        return transport if transport is not None else self._open()[0]

    def close(self) -> None:
        """Close the connection. The next call opens it again."""
        with self._lock:
            line, self._line = self._line, None
            transport, self._transport = self._transport, None
        if line is not None:
            line.close()
        if transport is not None:
            transport.close()

    def __enter__(self) -> Dibs:
        """For use in a ``with``, which closes the connection at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def __repr__(self) -> str:
        """Where the broker is, and the namespace."""
        return f"<Dibs {self.connection.target} {self.namespace}>"

    def _open(self) -> tuple[Transport, EnqueueLine]:
        while True:
            with self._lock:
                if self._transport is not None and self._line is not None:
                    return self._transport, self._line
            # Made without the lock: they wait for a fork that is going on, and that waits for the lock.
            transport = Transport(self.connection)
            line = (DirectLine if transport.connection.direct else EnqueueLine)(transport)
            with self._lock:
                if self._transport is None or self._line is None:
                    if transport.connection is not self.connection:
                        continue  # it was told of another place meanwhile
                    self._transport, self._line = transport, line
                return self._transport, self._line

    # Making and calling tasks

    def use(self, *middleware: Middleware) -> None:
        """Put middleware around all tasks of this instance: around `execute` here, and around runs in workers.

        It goes inside of what is used already. Call it where tasks are defined, before a worker starts.

        Args:
            middleware: the first outermost.

        Raises:
            TypeError: one is none, or does half of a thing; the text says what to write.

        Example::

            dibs.use(Tenant(), CloseOldConnections())
        """
        self.registry.layers.use(middleware)
        self.plain = None if self.registry.layers.calls else NO_OPTIONS

    def bind(self, definition: Definition, options: Options = NO_OPTIONS) -> Task[..., Any]:
        """A task of that definition that is enqueued through this instance; see `Task.on`."""
        return (CoroutineTask if definition.is_async else Task)(definition, self, options)

    def get_task(self, name: str) -> Task[..., Any]:
        """The task of that name. Its module must have been imported.

        Raises:
            UnknownTask: there is none; also a KeyError and a ValueError.
        """
        task = self.registry.get(name)
        return task if isinstance(task, Task) else self.bind(task.definition)

    def known_tasks(self) -> list[str]:
        """The names of the tasks that are registered here, or by a worker anywhere in the last 30 days, sorted."""
        return sorted({*self.registry.names(), *self.run(self._known_tasks.names(self.namespace))})

    def call_task(
        self, name: str, queue: QueueName | None, *args: Any, _verify_call: bool = False, **kwargs: Any
    ) -> EnqueuedTask[Any]:
        """Enqueue a call of the task of that name, whether or not its code is here.

        How a task is delivered whose code is elsewhere, the broker knows from the workers that run it; what it says
        is believed for a minute.

        Args:
            name: name of the task.
            queue: queue to use if neither this program nor the broker knows the task. Default ``default``.
            args: as for `Task.execute`.
            _verify_call: raise UnknownTask if neither knows it.
            kwargs: as for `Task.execute`.

        Raises:
            UnknownTask: see `_verify_call`; also a KeyError and a ValueError.
            PayloadError: the arguments cannot be written as JSON.
            BrokerError: the broker did not take it.

        Example::

            call_task("mytasks.send", "mail", "a@example.org").wait(5)
        """
        here = self.registry.find(name)
        definition = here.definition if here else self.run(self._known_tasks.find(self.namespace, name))
        if definition is None:
            if _verify_call:
                raise UnknownTask(name)
            definition = Definition(elsewhere, queue=queue, name=name)
        handle: EnqueuedTask[Any] = self.bind(definition).execute(*args, **kwargs)
        return handle

    def handle(self, taskid: str) -> EnqueuedTask[Any]:
        """The handle of a task whose id is known, such as one that another program has enqueued."""
        return EnqueuedTask(self, taskid)

    def result(self, taskid: str) -> Any:
        """What a task returned, without waiting; None when there is no result, for whatever reason."""
        return self.run(get_results(self.namespace, [taskid], self.sealing))[0]

    def results(self, taskids: Iterable[str]) -> list[Any]:
        """What tasks returned, in the order of their ids, any number of them; None where there is no result.

        Example::

            handles = [add.execute(n, n) for n in range(10)]
            values = results(handle.taskid for handle in handles)
        """
        return self.run(get_results(self.namespace, taskids, self.sealing))

    # Data

    def Data(
        self,
        queue: QueueName,
        attempts: int | None = None,
        vis_timeout: Seconds = 0,
        use_dead: bool | QueueName | None = None,
        is_tasks: bool = False,
        is_dead: bool = False,
    ) -> Data:
        """A data queue of this instance; see the class `Data`."""
        return Data(queue, attempts, vis_timeout, use_dead, is_tasks, is_dead, dibs=self)

    def lock(self, name: str, duration: Seconds = 1) -> SimpleLock:
        """A lock of this instance, for a ``with`` that fails at once if it is held; see `SimpleLock`.

        Example::

            with dibs.lock("nightly-report", duration=60) as lock: ...
        """
        return SimpleLock(self, name, duration)

    # Enqueueing

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Gather the calls that are enqueued inside the ``with``, and send them in full requests.

        A request goes when 1,000 calls or 3 MiB have gathered (fewer if the broker says so), and at the end; several
        are under way while the next gathers. It holds for this instance in this thread or asyncio task. A batch inside
        of a batch joins it.

        Handles can be used at once: asking one first sends what has gathered. If the body raises, what it has
        enqueued until then is sent all the same, as without a batch.

        Raises:
            BrokerError: at the end, when the broker refused a call (the others are enqueued); at once, when a request
                could not be sent.

        Example::

            with dibs.batch():
                handles = [add.execute(n, n) for n in range(100_000)]
        """
        outer = open_batch(self)
        if outer is not None:
            yield outer  # type: ignore[misc]  # the batches of a Dibs are blocking
            return
        batch = Batch(self)
        enter_batch(batch)
        try:
            try:
                yield batch
            except Exception as error:
                try:
                    if not batch.broken:
                        batch.flush()
                        batch.raise_refusals()
                except DibsError as second:
                    error.add_note(f"and calls of the batch were not enqueued: {second}")
                raise
            batch.flush()
            batch.raise_refusals()
        finally:
            leave_batch(batch)
            batch.close()

    def put(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """Enqueue an item, or let the batch that is open here do it.

        Raises:
            BrokerError: the broker did not take it.
        """
        batch = open_batch(self)
        if batch is None:
            return self.put_now(form, payload, id)
        if len(payload) > UNREMARKABLE and self.sealing is None:
            self._carry(check_sizes((payload,), self.transport.limits))
        placed = batch.add(form, payload, id)
        if batch.full:
            batch.send()  # type: ignore[attr-defined]  # as in `batch`
        return placed

    def put_now(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """Enqueue an item whether or not a batch is open.

        Raises:
            BrokerError: the broker did not take it.
        """
        line = self._line or self._open()[1]
        placed = Placed(id or new_id())
        sealing = self.sealing
        entry = form.entry(placed.id, payload) if sealing is None else form.sealed_entry(placed.id, payload, sealing)
        if _get_running_loop() is not None:
            self._tell_of_loop()
        if len(entry) > UNREMARKABLE:
            self._carry(check_sizes((entry,), self.transport.limits))
        try:
            return placed.heard(line.submit(entry))
        except InvalidArgument as error:
            # A broker of an earlier version may take it in another form.
            return self._carry(enqueue_one(self.namespace, entry, placed, error))

    def run(self, flow: flows.Flow[T]) -> T:
        """Run a flow over the blocking channel. What a batch has gathered here goes first.

        Raises:
            BrokerError: the broker refused, or the time for retries is used up.
        """
        batch = open_batch(self)
        flush = None if batch is None or batch.flushing else batch.flush  # type: ignore[attr-defined]  # as in `batch`
        return self._carry(flow, flush)

    def _carry(self, flow: flows.Flow[T], before: Callable[[], None] | None = None) -> T:
        transport = self.transport
        if _get_running_loop() is not None:
            self._tell_of_loop()

        def run(operation: Operation[Any]) -> Any:
            return self._enqueued(operation) if operation.rpc is ENQUEUE else transport.run(operation)

        return flows.drive(flow, run, before)

    def _tell_of_loop(self) -> None:
        """Say once that a call holds up the event loop that runs here."""
        if not self._told_of_loop and not self.connection.direct:
            self._told_of_loop = True
            _log.warning(
                "a blocking call of dibs holds up the event loop that runs here: in async functions use AsyncDibs, "
                "such as await task.on(adibs).execute(...)"
            )

    def _enqueued(self, operation: Operation[T]) -> T:
        """Over the stream of single calls if it is free: a third faster than a call of its own."""
        request = operation.request
        if isinstance(request, pb.EnqueueRequest):
            request = EncodedRequest.of(request)
        assert isinstance(request, EncodedRequest)
        transport, line = self._open()
        items = line.send(request)
        return transport.run(operation) if items is None else items  # type: ignore[return-value]  # that is its value

    # Working

    def execute_tasks(
        self,
        queues: Iterable[QueueName] | QueueName | None = None,
        threads_per_process: int = 1,
        processes: int = 1,
        wait_per_thread: Seconds = 1,
        module: str | None = None,
    ) -> None:
        """Be a worker: run tasks until told to stop. Needs ``dibs[worker]``.

        Args:
            queues: the queues to serve, in that order. Default: all, by priority.
            threads_per_process: tasks that run at the same time in each process.
            processes: processes to run them in.
            wait_per_thread: how long running tasks may take to end after a stop was asked for, for each thread of a
                process; seconds or a timedelta.
            module: module to import first, for its tasks.

        Raises:
            DibsError: the parts of a worker are not installed.
        """
        try:
            run = importlib.import_module("dibs.worker.run")
        except ModuleNotFoundError as error:
            raise DibsError(f"a worker needs {error.name}: pip install 'dibs[worker]'") from error
        run.execute_tasks(
            self,
            queues=queues,
            threads_per_process=threads_per_process,
            processes=processes,
            wait_per_thread=wait_per_thread,
            module=module,
        )
