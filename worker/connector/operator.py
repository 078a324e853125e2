"""Who passes on to a worker what operators want of it, through its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dibs.v1 import types_pb2 as tpb


class Operator(NamedTuple):
    """What a stream needs to take commands.

    Attributes:
        worker: name of the whole worker, by which it takes them.
        command: called with each; the same may come more than once. Must not block.
    """

    worker: str
    command: Callable[[tpb.WorkerCommand], None]


def _nothing(command: tpb.WorkerCommand) -> None:
    """Nobody takes commands."""


#: For streams that take none.
NO_OPERATOR = Operator("", _nothing)
