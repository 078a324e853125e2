"""Who runs the items of a stream, as the stream sees it: a task process, or slots in this one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from dibs.v1 import types_pb2 as tpb

from ..shared.logs import Said
from .condition import Condition
from .held import Batch

_log = logging.getLogger("dibs.worker")


class Standing(NamedTuple):
    """For what there is room.

    Attributes:
        room: items that may still be dealt.
        slots: items that run at once.
        ahead: items that are held ready beyond those.
    """

    room: int
    slots: int
    ahead: int


class Hands(Protocol):
    """Runs items and puts what came of them into the outbox. For one loop."""

    #: Set when items arrive; whoever looks after them clears it.
    arrived: asyncio.Event
    #: What is amiss, as far as it has been looked at.
    condition: Condition

    @property
    def held(self) -> int:
        """Items here that are not reported."""

    @property
    def finished(self) -> int:
        """Items that have been reported, in all; those that were handed back are among them."""

    @property
    def released(self) -> int:
        """Items that were handed back because they could not begin, in all."""

    def deal(self, batch: Batch, on_wire: int) -> None:
        """Has items run.

        Args:
            batch: the items.
            on_wire: credit that the broker has.
        """

    def standing(self) -> Standing:
        """For what there is room now."""

    def hand_back(self) -> None:
        """Hands back what has not begun and can go back."""

    def abandon(self) -> None:
        """Ends what runs: there is no more time. Everything here is reported, or logged as lost, within 6 s or so.

        Coroutines are cancelled, and get a second to tidy up.
        """

    def look_after(self, now: float) -> None:
        """To be called every `renewing.LOOK_EVERY_S` while there are items."""

    def rest(self) -> None:
        """To be called when there has been nothing to do for a while."""

    def cancel(self, leases: Iterable[tuple[str, int]], now: float) -> None:
        """Tells items, by id and lease token, that somebody has cancelled them. Not all need be here."""

    def running(self) -> Sequence[str]:
        """What runs now: name and id of each."""

    def newly_begun(self) -> Sequence[tuple[str, int]]:
        """Ids and lease tokens of items that run and have not been told before; of what is quickly done nothing.

        To be called every 40 ms or so while there are items.
        """

    def forget_told(self) -> None:
        """Has `newly_begun` tell everything again."""

    def items(self) -> Iterator[tpb.Delivery]:
        """What is here and not reported; reads everything."""


def tell_lost(delivery: tpb.Delivery) -> None:
    """Say in the log that an item which nobody else may run will not be run."""
    _log.error(
        Said(
            "task never began, and is lost: the worker stops, and it is delivered at most once",
            task=delivery.content.task_name,
            id=delivery.id,
        )
    )
