"""Runs that go on although their time limit has been over for long: nothing but the end of their process ends them."""

from __future__ import annotations

from dibs.v1 import types_pb2 as tpb

from .held import Batch, Held, Running


class Overrunning:
    """Finds those of one lane of one process.

    Args:
        held: what the lane has.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        #: What has a limit and runs, by position: its batch, and when it was seen first.
        self._seen: dict[int, tuple[Batch, float]] = {}
        #: Those that were found, by id and token, with what is to be said of them.
        self._found: dict[tuple[str, int], str] = {}

    def look(self, now: float, hard_s: float) -> list[Running]:
        """What is found at this look, and was not before; to be called every `renewing.LOOK_EVERY_S`.

        Args:
            now: on the monotonic clock.
            hard_s: how long a run may go on after its limit.
        """
        seen, self._seen = self._seen, {}
        found: list[Running] = []
        for one in self._held.running(now):
            limit_s = one.terms.limit_s
            if not limit_s:
                continue
            batch, since = seen.get(one.position, (one.batch, now))
            if batch is not one.batch:
                since = now
            self._seen[one.position] = (one.batch, since)
            key = one.terms.id, one.terms.token
            if now - since >= limit_s + hard_s and key not in self._found:
                self._found[key] = (
                    f"TimeLimitExceeded: the run took longer than its time limit of {limit_s:g} s and did not end "
                    f"within {hard_s:g} s more; its process was ended"
                )
                found.append(one)
        return found

    def said_of(self, delivery: tpb.Delivery) -> str:
        """What is to be said of an item when its process has ended; empty if it was not found."""
        return self._found.get((delivery.id, delivery.lease_token), "")
