"""What clients saw of items, and what must hold for it whatever the engine does inside."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Delivery:
    """One delivery, as its consumer saw it.

    Attributes:
        token: 0 for one that needs no ack.
        at_us: when.
        deadline_us: until when nobody else may have the item; None for at most once.
        undone: given back as if it had not been.
        ended: settled by its consumer.
    """

    token: int
    at_us: int
    deadline_us: int | None
    undone: bool = False
    ended: bool = False


@dataclass(eq=False)
class Life:
    """One item from its enqueue on; an id that is used again begins another life.

    Attributes:
        attempts: deliveries it may have.
        due_us: not before.
        unwanted: somebody cancelled it while it ran.
        ends: terminal states that were seen, such as "done", "dead", "dropped", "cancelled", "replaced", or "gone" when
            it was delivered at most once and nothing is kept of it.
    """

    body: bytes
    attempts: int
    due_us: int
    unwanted: bool = False
    deliveries: list[Delivery] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)


class History:
    """Records events and fails at the first that must not be. Times are those of Redis's clock.

    Args:
        once_retention_us: how long a started at-most-once item whose end matters may stay unfinished.
    """

    def __init__(self, once_retention_us: int) -> None:
        self._once_retention_us = once_retention_us
        self.lives: dict[str, list[Life]] = {}
        self._largest_token: dict[str, int] = {}

    def life(self, id: str) -> Life:
        """The current life of an id."""
        return self.lives[id][-1]

    def enqueued(self, id: str, body: bytes, *, attempts: int, due_us: int) -> None:
        """An Enqueue was confirmed as created (or as replacing, after `ended`)."""
        lives = self.lives.setdefault(id, [])
        assert not lives or lives[-1].ends, f"I8: {id} was enqueued again while it was there"
        lives.append(Life(body, attempts, due_us))

    def delivered(
        self, id: str, body: bytes, token: int, now_us: int, *, lease_us: int, attempts: int | None = None
    ) -> None:
        """A consumer got an item; `attempts` is its override."""
        assert id in self.lives, f"I2: {id} came out and was never put in"
        life = self.life(id)
        assert body == life.body, f"I2: {id} came out changed"
        assert not life.ends, f"I5: {id} was delivered after it had ended: {life.ends}"
        assert now_us >= life.due_us, f"I7: {id} was delivered {life.due_us - now_us} us early"
        counted = [delivery for delivery in life.deliveries if not delivery.undone]
        for before in counted:
            assert before.deadline_us is not None, f"I3: {id} is at most once and was delivered twice"
            assert before.ended or before.deadline_us <= now_us, f"I4: leases of {id} overlap"
        if token:
            assert token > self._largest_token.get(id, 0), f"I5: tokens of {id} do not grow"
            self._largest_token[id] = token
        life.attempts = max(life.attempts, attempts or 0)
        life.deliveries.append(Delivery(token, now_us, now_us + lease_us if lease_us else None))
        assert len(counted) < life.attempts, f"I6: {id} was delivered more often than it may be"
        if not token:
            life.ends.append("gone")

    def refreshed(self, id: str, deadline_us: int) -> None:
        """The current lease was lengthened or shortened."""
        self.life(id).deliveries[-1].deadline_us = deadline_us

    def given_back(self, id: str, *, undone: bool, due_us: int) -> None:
        """The current delivery ended without an end of the item; it comes again when due."""
        life = self.life(id)
        delivery = life.deliveries[-1]
        delivery.undone, delivery.ended = undone, True
        life.due_us = due_us

    def cancel_requested(self, id: str) -> None:
        """Somebody cancelled the item while it ran; it may still come to any end."""
        self.life(id).unwanted = True

    def ended(self, id: str, state: str) -> None:
        """The item came to its end, which is one."""
        life = self.life(id)
        assert not life.ends, f"I5: {id} ended as {state} after it had ended: {life.ends}"
        life.ends.append(state)
        for delivery in life.deliveries:
            delivery.ended = True

    def restored(self, id: str) -> None:
        """The last at-most-once delivery of an id, which nobody had seen, was put back."""
        lives = self.lives[id]
        gone = [life for life in lives if life.ends == ["gone"]]
        assert gone, f"I3: {id} was put back and had not been delivered"
        assert lives[-1].ends, f"I5: {id} was put back although it is there"
        lives.remove(gone[-1])
        lives.append(gone[-1])
        gone[-1].ends.clear()
        gone[-1].deliveries[-1].undone = True

    def vanished(self, id: str, now_us: int) -> None:
        """Nothing is known of an item any more, although nobody was told of its end.

        Its attempts were used up, or it ended where a cancelled item that runs does.
        """
        life = self.life(id)
        assert life.unwanted or any(not delivery.undone for delivery in life.deliveries), (
            f"I1: {id} was lost before its delivery"
        )
        last = life.deliveries[-1]
        over_us = last.at_us + self._once_retention_us if last.deadline_us is None else last.deadline_us
        over = last.ended or over_us <= now_us
        assert over, f"I1: {id} was lost while it was leased"
        self.ended(id, "dropped")

    def all_ended(self) -> None:
        """To be called when nothing is left in Redis."""
        lost = [id for id, lives in self.lives.items() for life in lives if not life.ends]
        assert not lost, f"I1: nothing is known any more of {lost}"
