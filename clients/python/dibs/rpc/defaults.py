"""What a reader of data says of items whose producers left it open."""

from __future__ import annotations

from typing import NamedTuple

from ..v1 import broker_pb2 as pb


class Defaults(NamedTuple):
    """For items that are leased, as far as their producers named none.

    Attributes:
        attempts: deliveries in all; 0: not named here either.
        dead_letter_queue: where used-up items go; empty: not named here either.
    """

    attempts: int = 0
    dead_letter_queue: str = ""

    def apply(self, asking: pb.LeaseRequest | pb.WorkHello) -> None:
        """Have a request say so."""
        asking.default_attempts = self.attempts
        asking.default_dead_letter_queue = self.dead_letter_queue


NO_DEFAULTS = Defaults()
