"""What Redis's scripts do, each in one step."""

from __future__ import annotations

from .protocol import Bounds, Protocol
from .state import (
    DEAD,
    DONE,
    LEASED,
    NEVER_RECEIVED,
    OUT,
    WAITING,
    Answer,
    Item,
    Leases,
    Request,
    Settlement,
    State,
    set_item,
)


class Scripts:
    """The scripts of a protocol.

    Args:
        protocol: what is switched on.
        bounds: how far to look.
    """

    def __init__(self, protocol: Protocol, bounds: Bounds) -> None:
        self._protocol, self._bounds = protocol, bounds

    def lease(self, state: State, request: Request) -> tuple[Leases | None, State]:
        """Lease all that waits; None where the call does nothing: it was overtaken, or the tokens are used up."""
        named = self._protocol.named_lease
        kept = next((one for one in state.answers if one[:2] == request[:2]), None) if named else None
        if kept and kept.call > request.call:
            return None, state
        if kept and kept.call == request.call:
            return self._still_leased(state, kept), state
        waiting = [at for at, item in enumerate(state.items) if item.state == WAITING]
        if waiting and state.token >= self._bounds.tokens:
            return None, state
        token = state.token + 1
        for at in waiting:
            item = state.items[at]
            assert token > item.token, "tokens grow"
            once = self._bounds.once(at)
            used = 1 if once else item.used + 1
            state = set_item(state, at, item._replace(state=OUT if once else LEASED, used=used, token=token))
        leases = frozenset((at, token) for at in waiting)
        if waiting:
            state = state._replace(token=token)
        if self._protocol.receipt_counts and not all(self._bounds.once(at) for at in waiting):
            state = state._replace(unreceived=state.unreceived | {token})
        if named:
            others = frozenset(one for one in state.answers if one[:2] != request[:2])
            answer = Answer(request.broker, request.life, request.call, leases)
            state = state._replace(answers=others | {answer})
        return leases, state

    def _still_leased(self, state: State, answer: Answer) -> Leases:
        """What is left of an answer that is asked for again."""
        return frozenset(
            (at, token)
            for at, token in answer.leases
            if self._bounds.once(at) or (state.items[at].state == LEASED and state.items[at].token == token)
        )

    def expire(self, state: State, at: int) -> State:
        """A lease runs out."""
        item = state.items[at]
        if self._protocol.receipt_counts and item.token in state.unreceived:
            return set_item(state, at, self._ended_unreceived(item))
        return set_item(state, at, item._replace(state=self._after_attempt(item)))

    def settle(self, state: State, word: Settlement) -> State:
        """Carry out a word about one lease; nothing if that is over."""
        at, token = word.item, word.token
        item = state.items[at]
        if word.what == "restore":
            return self._restore(state, word)
        if word.what == "not begun" and item.state == OUT and item.token == token:
            # This delivery of an at-most-once item never began and never will.
            return set_item(state, at, item._replace(state=WAITING, used=0, received=0))
        if item.state != LEASED or item.token != token:
            return state
        return set_item(state, at, self._settled(state, item, word))

    def _settled(self, state: State, item: Item, word: Settlement) -> Item:
        if word.what == "ack":
            return item._replace(state=DONE)
        if word.what == "fail":
            return item._replace(state=self._after_attempt(item))
        if word.what == "crash":
            dead = item.crashes + 1 >= self._bounds.max_crashes
            return item._replace(state=DEAD if dead else self._after_attempt(item), crashes=item.crashes + 1)
        if word.what in ("not begun", "unsent") or not self._protocol.guarded_return:
            return item._replace(state=WAITING, used=item.used - 1)
        assert word.what == "unreceived"
        return self._ended_unreceived(item) if word.token in state.unreceived else item

    def _restore(self, state: State, word: Settlement) -> State:
        """Put an at-most-once item back."""
        name = (word.sender, word.life, word.item, word.token)
        named = self._protocol.named_restore
        item = state.items[word.item]
        if item.state != OUT or (named and name in state.restored):
            return state
        state = set_item(state, word.item, item._replace(state=WAITING, used=0))
        return state._replace(restored=state.restored | {name}) if named else state

    def _after_attempt(self, item: Item) -> str:
        return DEAD if item.used >= self._bounds.attempts else WAITING

    def _ended_unreceived(self, item: Item) -> Item:
        given_up = item.lost + 1 >= self._bounds.limit
        return item._replace(state=NEVER_RECEIVED if given_up else WAITING, used=item.used - 1, lost=item.lost + 1)
