"""Whose call goes to Redis next: deficit round robin over namespaces, by what calls cost.

Redis does one thing at a time, and whatever was written to it is done in the order in which it was written. So not
everything is: beyond a certain amount that is under way, calls line up here, a line for each namespace, and each
line has its turn. A namespace with ten thousand calls waiting, or with calls of a thousand names, then is no slower
to the others than one with a few. While nothing lines up a call goes at once, and a namespace alone is served in
the order of its calls.

Costs are in steps, of which Redis makes about one a microsecond: arguments, parts of replies, KiB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

C = TypeVar("C")

#: What a call costs that does next to nothing.
BASE = 30
#: So much is under way before calls line up. Redis must have the next call at hand while the broker reads the reply
#: to the last one; and whoever comes next waits for all of it. One call more than that may be on its way: the last to
#: fit begins it.
WINDOW = 1500
#: What a line gets each time its turn comes.
QUANTUM = 500

#: Steps of scripts that do much more than their arguments and replies show.
_HIDDEN = {"clear": 300, "describe_queues": 300, "purge": 300, "redrive": 300, "redrive_aside": 300}


class Turns(Generic[C]):
    """Counts what is under way, and keeps what waits. The event loop alone touches it; nothing here waits by itself."""

    def __init__(self) -> None:
        self._under_way = 0
        #: Those with something waiting, in the order of their turns.
        self._lines: dict[str, _Line[C]] = {}

    def __len__(self) -> int:
        """How many calls are lined up."""
        return sum(len(line.calls) for line in self._lines.values())

    def goes(self, cost: int) -> bool:
        """Whether a call may go at once; if so it is under way from now on."""
        if self._lines or self._under_way >= WINDOW:
            return False
        self._under_way += cost
        return True

    def line_up(self, tenant: str, cost: int, call: C) -> None:
        """Put a call at the end of the line of a tenant."""
        line = self._lines.get(tenant)
        if line is None:
            line = self._lines[tenant] = _Line()
        line.calls.append((cost, call))

    def ended(self, cost: int) -> None:
        """Says that a call is under way no longer."""
        self._under_way -= cost

    def next(self) -> tuple[int, C] | None:
        """The call whose turn it is and its cost, under way from now on; None: none waits, or enough is under way."""
        if not self._lines or self._under_way >= WINDOW:
            return None
        while self._lines:
            tenant = next(iter(self._lines))
            line = self._lines[tenant]
            if line.left <= 0:
                # It has had its turn; what it took beyond that it pays for by going without for some
                # rounds. One that is alone owes nobody anything.
                line.left = QUANTUM if len(self._lines) == 1 else line.left + QUANTUM
                self._lines[tenant] = self._lines.pop(tenant)
                continue
            cost, call = line.calls.popleft()
            line.left -= cost
            if not line.calls:
                del self._lines[tenant]
            self._under_way += cost
            return cost, call
        return None

    def drain(self) -> list[C]:
        """Everything that is lined up, which is lined up no longer; and nothing is under way."""
        calls = [call for line in self._lines.values() for _, call in line.calls]
        self._lines.clear()
        self._under_way = 0
        return calls


class _Line(Generic[C]):
    """What one tenant has waiting: calls with their costs, and what is left of its turn."""

    __slots__ = ("calls", "left")

    def __init__(self) -> None:
        self.calls: deque[tuple[int, C]] = deque()
        self.left = QUANTUM


class Costs:
    """What calls will cost, by their arguments and by what the last ones like them had for replies.

    How much a lease finds, or how long a list is, is known only when it has been done: for the next one of that
    namespace it is taken for the same, and for less only step by step.
    """

    def __init__(self) -> None:
        self._replies: dict[tuple[str, str], int] = {}

    def of(self, script: str, namespace: str, args: Sequence[object]) -> int:
        """Steps of a call, but for the bytes of its arguments."""
        return BASE + len(args) + _HIDDEN.get(script, 0) + self._replies.get((namespace, script), 0)

    def learn(self, script: str, namespace: str, reply: Any) -> None:
        """Learns from a reply."""
        parts = _parts(reply)
        key = (namespace, script)
        known = self._replies.get(key, 0)
        if parts != known:
            self._replies[key] = max(parts, (known + parts) // 2)

    def forget(self) -> None:
        """Forgets all that was learned; the next replies tell it anew."""
        self._replies.clear()


def _parts(reply: Any) -> int:
    """How many parts a reply has, without looking at each: a short one has lists beside each other."""
    if type(reply) is not list:
        return 0
    if len(reply) > 8:
        return len(reply)
    parts = 0
    for part in reply:
        if type(part) is list:
            parts += len(part)
    return parts
