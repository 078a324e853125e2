"""FastAPI and Starlette: a connection for as long as the application lives, and tasks over HTTP.

Needs ``pip install 'dibs[fastapi]'``.

Example::

    from fastapi import FastAPI
    from dibs.contrib.fastapi import Connected, TaskResponse, error_handlers, lifespan, task_router
    from myproject.tasks import make_report  # a function under @dibs.task(save_results=3600)

    app = FastAPI(lifespan=lifespan(), exception_handlers=error_handlers())
    app.include_router(task_router(), prefix="/tasks")

    @app.post("/reports", status_code=202)
    async def start(year: int, dibs: Connected) -> TaskResponse[list[str]]:
        return TaskResponse.of(await make_report.on(dibs).execute(year))
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from ..client.async_dibs import AsyncDibs
from ..client.instance import default
from ..errors import AlreadyExists, BrokerError, FailedPrecondition, InvalidArgument, LimitExceeded, NotFound
from ..rpc.times import Seconds
from ..tasks.handles import AsyncEnqueuedTask
from ..tasks.result_flows import look_up_until, result_of
from ..tasks.states import State, state_from_wire
from ..v1 import broker_pb2 as pb

R = TypeVar("R")
_Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]

#: Longest time, in seconds, that a request may wait for a task.
LONGEST_WAIT_SECONDS = 60.0
#: Where an application keeps its instance.
_KEPT_AS = "dibs"
#: Seconds after which a stream of events says that it is alive.
_SIGN_OF_LIFE_SECONDS = 15.0
#: HTTP statuses of what a broker answers; of the rest this service is to blame, or whoever runs it.
_STATUSES: dict[type[BrokerError], int] = {
    InvalidArgument: 422,
    NotFound: 404,
    AlreadyExists: 409,
    FailedPrecondition: 409,
    LimitExceeded: 429,
}


def lifespan(instance: AsyncDibs | None = None, *, around: _Lifespan | None = None) -> _Lifespan:
    """Keep a connection for as long as an application lives; for ``FastAPI(lifespan=...)``, or Starlette's.

    Args:
        instance: the connection. Default: one that shares target and tasks with `dibs.default()`.
        around: another lifespan, inside of which this one is.
    """

    @asynccontextmanager
    async def alive(app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(around(app)) if around is not None else {}
            connected = instance if instance is not None else AsyncDibs(of=default())
            setattr(app.state, _KEPT_AS, await stack.enter_async_context(connected))
            yield state

    return alive


def connected(request: Request) -> AsyncDibs:
    """The connection of the application that a request is for; a dependency.

    Raises:
        RuntimeError: the application has none.
    """
    found = getattr(request.app.state, _KEPT_AS, None)
    if found is None:
        raise RuntimeError("make the application with FastAPI(lifespan=lifespan()), of dibs.contrib.fastapi")
    assert isinstance(found, AsyncDibs)
    return found


#: A parameter of this type is the connection of the application.
Connected = Annotated[AsyncDibs, Depends(connected)]


class TaskResponse(BaseModel, Generic[R]):
    """A task, as an endpoint tells of it; `R` is the type of its result.

    Attributes:
        id: of the task; for ``/tasks/{id}`` of `task_router`.
        state: where it is in its life; None right after it was enqueued, since nobody has asked.
        result: what it returned, once it is done and its result is kept.
        error: what went wrong, if it failed.
    """

    id: str
    state: State | None = None
    result: R | None = None
    error: str | None = Field(default=None, description="What went wrong, if it failed.")

    @classmethod
    def of(cls, handle: AsyncEnqueuedTask[R]) -> TaskResponse[R]:
        """A task that was enqueued just now. Costs no call."""
        return cls(id=handle.taskid)

    @classmethod
    async def fetch(
        cls, handle: AsyncEnqueuedTask[R], *, wait: Seconds = 0, tracebacks: bool = False
    ) -> TaskResponse[R]:
        """A task as it is now, or when it is done.

        Args:
            handle: of the task; `AsyncDibs.handle` makes one of an id.
            wait: seconds to wait until it is done, at most.
            tracebacks: tell the whole remote traceback of one that failed, not only its last line: that shows code.

        Raises:
            pydantic.ValidationError: its result is not of the type.
            CodecError: it is encoded, and cannot be decoded here.
            PermissionDenied: there is one, and these credentials may not see it.
        """
        dibs = handle._dibs
        found = await dibs.run(look_up_until(dibs.namespace, handle.taskid, handle.name, "done", wait))
        return cls(
            id=handle.taskid,
            state=state_from_wire(found.state),
            result=result_of(found, dibs.sealing),
            error=_error(found, tracebacks=tracebacks),
        )


def task_router(
    *,
    dependencies: Sequence[Any] = (),
    tags: Sequence[str] = ("tasks",),
    tracebacks: bool = False,
) -> APIRouter:
    """Routes that tell of tasks by their ids: ``GET /{id}``, ``DELETE /{id}`` to cancel, ``GET /{id}/events``.

    Whoever knows or guesses an id is told, and may cancel: say in `dependencies` who may ask.

    Args:
        dependencies: of every route, such as ``Depends(require_user)``.
        tags: as of `APIRouter`.
        tracebacks: as of `TaskResponse.fetch`.
    """
    router = APIRouter(dependencies=list(dependencies), tags=list(tags))

    @router.get("/{id}", responses={404: {"description": "Nothing is known of that task."}})
    async def status(
        id: str, dibs: Connected, response: Response, wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = 0
    ) -> TaskResponse[Any]:
        """How a task is, at once or when it is done (`wait`, in seconds)."""
        found = await TaskResponse[Any].fetch(dibs.handle(id), wait=wait, tracebacks=tracebacks)
        if found.state is State.UNKNOWN:
            response.status_code = 404
        return found

    @router.delete("/{id}")
    async def cancel(id: str, dibs: Connected) -> dict[str, str]:
        """Cancel a task: never_runs, told (it runs), result_dropped (it was done), not_known."""
        return {"id": id, "cancelled": (await dibs.handle(id).cancel()).name.lower()}

    @router.get("/{id}/events", response_class=StreamingResponse)
    async def events(id: str, dibs: Connected) -> StreamingResponse:
        """Server-sent events: `state` whenever it changes, `end` with the result when it is done."""
        # Said before anything is sent: what is wrong with the id is a status, not the end of a stream.
        first = await TaskResponse[Any].fetch(dibs.handle(id), tracebacks=tracebacks)
        told = _events(dibs, first, tracebacks=tracebacks)
        return StreamingResponse(told, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return router


def error_handlers() -> dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]:
    """What makes an HTTP status of an error of the broker; for ``FastAPI(exception_handlers=...)``.

    ======================================  ======
    InvalidArgument                         422
    NotFound                                404
    AlreadyExists, FailedPrecondition       409
    LimitExceeded                           429
    any other `dibs.BrokerError`            503, with Retry-After
    ======================================  ======
    """

    async def answer(_: Request, error: BrokerError) -> Response:
        status = next((_STATUSES[cls] for cls in type(error).__mro__ if cls in _STATUSES), 503)
        headers = {"Retry-After": "1"} if status in (429, 503) else {}
        # Texts of the broker are for clients; those of a failed connection tell of our own network.
        detail = "the task queue is not available" if status == 503 else str(error)
        return JSONResponse({"detail": detail}, status, headers)

    return {BrokerError: answer}


async def _events(dibs: AsyncDibs, last: TaskResponse[Any], *, tracebacks: bool) -> AsyncIterator[str]:
    handle: AsyncEnqueuedTask[Any] = dibs.handle(last.id)
    yield _event(last)
    while last.state is not None and not last.state.is_over:
        until = "done" if last.state.has_started else "started"
        await handle.wait(_SIGN_OF_LIFE_SECONDS, until=until)  # type: ignore[arg-type]
        now = await TaskResponse[Any].fetch(handle, tracebacks=tracebacks)
        if now.state is last.state:
            yield ":\n\n"
        else:
            last = now
            yield _event(now)


def _event(told: TaskResponse[Any]) -> str:
    name = "end" if told.state is not None and told.state.is_over else "state"
    return f"event: {name}\ndata: {json.dumps(told.model_dump(mode='json'))}\n\n"


def _error(found: pb.ItemResult, *, tracebacks: bool) -> str | None:
    if not found.error:
        return None
    return found.error if tracebacks else found.error.rstrip().rpartition("\n")[2]
