"""Arguments and options that several commands share, each with one meaning everywhere."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from ..contract.names import DEADLETTER_QUEUE
from ..rpc.times import to_duration
from ..v1.types_pb2 import DeliveryPolicy
from .completion import dead_queue_names, queue_names
from .session import usage
from .values import Kind, span

Queue: TypeAlias = Annotated[
    str, typer.Argument(metavar="QUEUE", help="Name of the queue.", autocompletion=queue_names)
]
Queues: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="QUEUE", help="Names of queues.", autocompletion=queue_names)
]
Ids: TypeAlias = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of items.")]
SomeIds: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of items; else say --all.")]
Data: TypeAlias = Annotated[
    bool, typer.Option("--data", help="It is a data queue; else it is a task queue.", show_default=False)
]
AnyKind: TypeAlias = Annotated[
    Kind | None, typer.Option("--kind", help="Only queues of this kind. Default: both.", case_sensitive=False)
]
DeadQueue: TypeAlias = Annotated[
    str,
    typer.Option("--queue", "-q", metavar="NAME", help="The dead-letter queue.", autocompletion=dead_queue_names),
]
DEAD_QUEUE = DEADLETTER_QUEUE
Limit: TypeAlias = Annotated[int, typer.Option("--limit", min=0, help="Show this many at most; 0: all.")]
PageToken: TypeAlias = Annotated[
    str, typer.Option("--page-token", metavar="TOKEN", help="Go on where an earlier list ended.", show_default=False)
]
ShowArgs: TypeAlias = Annotated[bool, typer.Option("--args", help="Show what each item carries.")]
Lease: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--lease",
        parser=span,
        metavar="TIME",
        help="How soon it is noticed that whoever runs one is dead; renewed until then. 0: at most once.",
    ),
]
VisTimeout: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--vis-timeout", parser=span, metavar="TIME", help="How long one delivery may take; instead of --lease."
    ),
]
Expires: TypeAlias = Annotated[
    float | None,
    typer.Option("--expires", parser=span, metavar="TIME", help="How long one may wait; later nobody gets it."),
]
TimeLimit: TypeAlias = Annotated[
    float | None, typer.Option("--time-limit", parser=span, metavar="TIME", help="How long one run may take.")
]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="All that are there.")]


def kind_of(data: bool) -> Kind:
    """The kind that `--data` tells."""
    return Kind.DATA if data else Kind.TASK


def chosen_ids(ids: list[str] | None, everything: bool) -> list[str] | None:
    """The ids that are named; None: all, which `--all` must say."""
    if everything and ids:
        raise usage("does not go with ids", "--all")
    if not everything and not ids:
        raise usage("name the ids, or say --all", "ID")
    return ids or None


def set_lease(policy: DeliveryPolicy, lease: float | None, vis_timeout: float | None) -> None:
    """Say in a policy what `--lease` or `--vis-timeout` tells; nothing if neither is there."""
    if lease is not None and vis_timeout is not None:
        raise usage("does not go with --lease", "--vis-timeout")
    seconds = lease if vis_timeout is None else vis_timeout
    if seconds is not None:
        policy.lease_timeout.CopyFrom(to_duration(seconds))
        policy.renew = bool(lease)


def set_times(policy: DeliveryPolicy, time_limit: float | None, expires: float | None) -> None:
    """Say in a policy what `--time-limit` and `--expires` tell; nothing of what is not there."""
    if time_limit is not None:
        policy.run_timeout.CopyFrom(to_duration(time_limit))
    if expires is not None:
        policy.expire_after.CopyFrom(to_duration(expires))
