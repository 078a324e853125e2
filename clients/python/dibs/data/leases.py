"""Which leases are held here: the tokens of items that were received and are not done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from ..rpc import forking
from ..v1 import broker_pb2 as pb
from ..v1.types_pb2 import OUTCOME_NOT_FOUND, OUTCOME_OK, Delivery, EntryOutcome

#: Leases that are remembered; beyond that the oldest are forgotten.
MAX_REMEMBERED = 200_000


class Leases:
    """The tokens of leases, by item. Safe to use from any thread.

    An item whose token is known here is refreshed and finished under that lease only. One that is not, because it was
    received elsewhere, is refreshed and finished under whatever lease there is.

    Args:
        most: tokens to remember; beyond that the oldest are forgotten.
    """

    __slots__ = ("_lock", "_most", "_tokens")

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        self._most = most
        self._lock = forking.Mutex()
        self._tokens: dict[str, int] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._tokens)

    def remember(self, deliveries: Iterable[Delivery]) -> None:
        """Keep the tokens of what was received. What was taken at most once has none."""
        received = {delivery.id: token for delivery in deliveries if (token := delivery.lease_token)}
        with self._lock:
            tokens = self._tokens
            tokens.update(received)
            if len(tokens) > self._most:
                for id in list(islice(tokens, len(tokens) - self._most)):
                    del tokens[id]

    def acks(self, ids: Sequence[str]) -> list[pb.AckEntry]:
        """What finishes these items."""
        token = self._tokens.get
        entry = pb.AckEntry
        return [entry(id=id, lease_token=known) if (known := token(id)) else entry(id=id, unfenced=True) for id in ids]

    def refreshes(self, ids: Sequence[str]) -> list[pb.RefreshEntry]:
        """What refreshes these items."""
        token = self._tokens.get
        entry = pb.RefreshEntry
        return [entry(id=id, lease_token=known) if (known := token(id)) else entry(id=id, unfenced=True) for id in ids]

    def finish(self, outcomes: Iterable[EntryOutcome]) -> None:
        """Forget what is over. A lost lease stays known, so that the item's new holder is not disturbed."""
        with self._lock:
            forget = self._tokens.pop
            for outcome in outcomes:
                if outcome.outcome in (OUTCOME_OK, OUTCOME_NOT_FOUND):
                    forget(outcome.id, None)
