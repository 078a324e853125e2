"""`dibs enqueue`: one task or data item by hand."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ..contract.names import DEFAULT_QUEUE
from ..errors import PayloadError
from ..rpc.codec import encode_call, encode_json
from ..rpc.ids import new_id
from ..rpc.times import to_duration
from ..tasks import hints
from ..tasks.call_schema import CallSchema
from ..tasks.options import CONFLICTS
from ..tasks.result_flows import look_up_until
from ..v1 import broker_pb2 as pb
from ..v1 import types_pb2 as tpb
from . import words
from .arguments import Expires, Lease, TimeLimit, VisTimeout, kind_of, set_lease, set_times
from .command import single
from .completion import queue_names, task_names
from .exits import Exit
from .session import Session, usage
from .show import item_fields
from .values import MAX_INT32, json_list, json_object, json_value, span

#: How long the result of a task is kept that somebody waits for and that keeps none by itself.
KEPT_SECONDS = 60.0
#: What there is to say if an item of that id was known.
_NOTES = {
    pb.ENQUEUE_OUTCOME_EXISTS: "is known already; nothing changed",
    pb.ENQUEUE_OUTCOME_CONFLICT: "is known already; nothing changed",
    pb.ENQUEUE_OUTCOME_RUNNING: "is running, or with a worker that will; nothing changed",
    pb.ENQUEUE_OUTCOME_REPLACED: "was known already; this one took its place",
}


class OnConflict(StrEnum):
    """What to do if an item of that id is known."""

    KEEP = "keep"
    REPLACE = "replace"
    FAIL = "fail"
    UNLESS_RUNNING = "replace-unless-running"

    @property
    def on_wire(self) -> pb.OnConflict.ValueType:
        """As the broker has it."""
        return CONFLICTS[self.replace("-", "_")]


def enqueue(
    session: Session,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of the task; of the queue with --data.", autocompletion=task_names),
    ],
    args: Annotated[str | None, typer.Option(metavar="JSON", help="Positional arguments, a JSON list.")] = None,
    kwargs: Annotated[str | None, typer.Option(metavar="JSON", help="Keyword arguments, a JSON object.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="JSON", help="Put this JSON value into the data queue NAME instead.")
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", help="Default: the task's.", autocompletion=queue_names)
    ] = None,
    delay: Annotated[
        float, typer.Option(parser=span, metavar="TIME", show_default="0s", help="Not to be delivered before.")
    ] = 0.0,
    id: Annotated[str, typer.Option("--id", help="Id, instead of a made one.", show_default=False)] = "",
    on_conflict: Annotated[
        OnConflict, typer.Option("--on-conflict", case_sensitive=False, help="If an item of that id is known already.")
    ] = OnConflict.UNLESS_RUNNING,
    attempts: Annotated[
        int | None, typer.Option(min=1, max=MAX_INT32, help="Deliveries in all. Default: the task's.")
    ] = None,
    lease: Lease = None,
    vis_timeout: VisTimeout = None,
    time_limit: TimeLimit = None,
    expires: Expires = None,
    keep: Annotated[
        float | None,
        typer.Option(parser=span, metavar="TIME", help="Keep the result so long. Default: the task's."),
    ] = None,
    wait: Annotated[
        float | None, typer.Option(parser=span, metavar="TIME", help="Wait so long for its end, and show the result.")
    ] = None,
) -> Exit:
    """Enqueue a task and print its id. If the task is registered, it is delivered as its code says.

    An item of the same --id that waits, is done or is dead is replaced, one that somebody has is left: that is
    replace-unless-running.

    Exit code 1: an item of that id was there and stays; or with --wait: it failed, or is not done in time.
    """
    if data is not None:
        item = _data_item(name, data, args, kwargs, queue)
    else:
        item = _task_item(session, name, args, kwargs, queue)
    item.id = id or new_id()
    if id:
        item.on_conflict = on_conflict.on_wire
    if delay:
        item.delay.CopyFrom(to_duration(delay))
    if attempts is not None:
        item.policy.attempts = attempts
    set_lease(item.policy, lease, vis_timeout)
    set_times(item.policy, time_limit, expires)
    if data is not None:
        # Whoever takes data sees to its lease.
        item.policy.renew = False
    if keep is not None:
        item.policy.result_ttl.CopyFrom(to_duration(keep))
    elif wait is not None and not item.policy.HasField("result_ttl"):
        item.policy.result_ttl.CopyFrom(to_duration(KEPT_SECONDS))
    request = pb.EnqueueRequest(namespace=session.calls.namespace, request_id=new_id(), items=[item])
    enqueued = session.calls.enqueue(request)
    note = _NOTES.get(enqueued.outcome)
    if note:
        session.note(f"dibs: an item with the id {words.plain(enqueued.id)} {note}")
    if wait is not None:
        return _wait(session, enqueued.id, wait)
    if session.as_json:
        session.document(item=enqueued)
    else:
        session.say(words.plain(enqueued.id))
    return Exit.OK if enqueued.outcome in (pb.ENQUEUE_OUTCOME_CREATED, pb.ENQUEUE_OUTCOME_REPLACED) else Exit.NO


def _data_item(queue: str, data: str, args: str | None, kwargs: str | None, other: str | None) -> pb.EnqueueItem:
    for given, option in ((args, "--args"), (kwargs, "--kwargs"), (other, "--queue")):
        if given is not None:
            raise usage("does not go with --data", option)
    content = tpb.Content(payload=encode_json(json_value(data, "--data")))
    return pb.EnqueueItem(queue=queue, kind=kind_of(True).on_wire, content=content)


def _task_item(session: Session, name: str, args: str | None, kwargs: str | None, queue: str | None) -> pb.EnqueueItem:
    places, by_name = json_list(args, "--args"), json_object(kwargs, "--kwargs")
    payload = encode_call(places, by_name)
    item = pb.EnqueueItem(kind=kind_of(False).on_wire, content=tpb.Content(task_name=name, payload=payload))
    registered = session.calls.known_tasks([name])
    if registered:
        item.policy.CopyFrom(registered[0].definition.policy)
        item.queue = registered[0].definition.queue
        schema = CallSchema.parse(registered[0].definition.schema, name)
        if schema is not None:
            try:
                schema.check(places, by_name)
            except (TypeError, PayloadError) as error:
                raise usage(str(error), "--args" if kwargs is None else "--kwargs") from error
    else:
        close = hints.for_names(name, [task.definition.name for task in session.calls.known_tasks()])
        session.note(
            f"dibs: no worker has registered a task {words.plain(name)} in the last 30 days: it waits for one"
            f"{words.plain(close)}"
        )
    item.queue = queue or item.queue or DEFAULT_QUEUE
    return item


def _wait(session: Session, id: str, seconds: float) -> Exit:
    with session.waiting(f"waiting for {words.plain(id)}"):
        calls = session.calls
        found = calls.run(look_up_until(calls.namespace, id, "", "done", seconds, include_content=True))
    if session.as_json:
        session.document(item=found)
    else:
        session.show(item_fields(found))
    return Exit.OK if found.state == tpb.ITEM_STATE_SUCCEEDED else Exit.NO


command = single(enqueue)
