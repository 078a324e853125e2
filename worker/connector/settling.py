"""What becomes of an item whose task process has died: a table, without I/O."""

from __future__ import annotations

import signal
from enum import Enum
from typing import NamedTuple

from dibs.v1 import broker_pb2 as pb

from ..shared.begun import BEGUN, ENDED


class Verdict(Enum):
    """What is to be done."""

    #: Give it back to the broker, with a reason.
    NACK = "nack"
    #: It was stopped: the broker gives it to somebody else, if it may run again.
    STOPPED = "stopped"
    #: Tell the broker of its success.
    ACK = "ack"
    #: Run it in another process here: the broker knows nothing of it any more.
    RUN_HERE = "run here"
    #: It has ended, or may not be run again, and nobody is waiting to hear of it.
    NOTHING = "nothing"


class Settled(NamedTuple):
    """A verdict.

    Attributes:
        verdict: what is to be done.
        reason: of a nack.
        error: of a nack.
        lost: it had begun, and did not come to an end.
    """

    verdict: Verdict
    reason: pb.NackReason.ValueType = pb.NACK_REASON_UNSPECIFIED
    error: str = ""
    lost: bool = False


def settle(mark: int, token: int, how: str, *, stopped: bool = False, over: str = "") -> Settled:
    """The verdict on an item that the process did not report.

    | it was | with a lease token | without one |
    |---|---|---|
    | not begun | handed back, no attempt used | run here |
    | begun | failed, and a crash | nothing: it may not run again |
    | begun, and it went on after its limit | failed | nothing |
    | begun, and stopped | comes again at once, if it may | nothing |
    | ended, success untold | acked | nothing |

    Args:
        mark: how far it had come; see `dibs.worker.shared.begun`.
        token: its lease token; 0 for what is delivered at most once and of which nothing is kept.
        how: how the process ended, such as ``SIGSEGV`` or ``exit code 7``.
        stopped: it ended because it was told to, so that what ran is not to blame.
        over: what is to be said of an item that went on after its limit, for which the process was ended; empty: it did
            not.
    """
    if mark == ENDED:
        return Settled(Verdict.ACK if token else Verdict.NOTHING)
    if mark != BEGUN:
        return Settled(Verdict.NACK, pb.NACK_REASON_NOT_BEGUN) if token else Settled(Verdict.RUN_HERE)
    if not token:
        return Settled(Verdict.NOTHING, lost=True)
    if over:
        return Settled(Verdict.NACK, pb.NACK_REASON_FAILED, over, lost=True)
    if stopped:
        return Settled(Verdict.STOPPED, lost=True)
    return Settled(Verdict.NACK, pb.NACK_REASON_CRASHED, f"worker process crashed ({how})", lost=True)


def how_ended(code: int) -> str:
    """How a process ended, in words: its exit code, or the name of the signal.

    Args:
        code: as of `subprocess.Popen.returncode`.
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
