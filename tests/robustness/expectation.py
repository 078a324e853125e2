"""What a fault is allowed to cost. Everything else must hold as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What holds under a fault.

    Attributes:
        recovery_s: within so many seconds after the fault has ended everybody works again.
        lost_once: at-most-once items that may be lost: those that whatever broke was handing out or running.
        uncounted: runs of one item that may go uncounted, because a connection, a process or a lease ended between a
            delivery and its receipt.
        unseen_tasks: attempts of one task that may be used up although its function never began: the worker had
            received it, and froze or died as a whole.
        unseen_data: attempts of one data item that may be used up although its consumer did not get it: a batch of a
            Lease counts once it was written and the call has ended OK for the broker, and the connection may break just
            then.
        just_begun: tasks in all that may seem to have died unseen: they were being called when their process died, and
            had not come to write that they began.
        because: why less is asked for than of other faults.
    """

    recovery_s: float = 15.0
    lost_once: int = 0
    uncounted: int = 0
    unseen_tasks: int = 0
    unseen_data: int = 0
    just_begun: int = 0
    because: str = ""


#: Nothing may be lost, nothing goes uncounted.
STRICT = Expectation()
