"""Exit codes of the operator's commands, and how an error becomes one sentence and a code: the one table.

====  =============================================================================================
code  meaning
====  =============================================================================================
0     done
1     failed, or the answer is no: a task failed, a check failed, the broker says not in this state
2     the command was used wrongly: an option, a value, or something that the broker finds invalid
3     what was named is not there
4     no broker, no Redis behind it, or no answer in time
5     not allowed: no credentials, or not enough
130   interrupted with Ctrl-C
====  =============================================================================================
"""

from __future__ import annotations

from enum import IntEnum

from ..errors import (
    BrokerError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PayloadError,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)


class Exit(IntEnum):
    """Exit codes; the module's text says what each means."""

    OK = 0
    NO = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    NOT_ALLOWED = 5
    INTERRUPTED = 130


class Refused(Exception):
    """A command cannot go on; the text is one sentence for the user.

    Args:
        text: the sentence, without a full stop.
        code: the exit code.
    """

    def __init__(self, text: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(text)
        self.code = code


#: By class; one without a row of its own has that of its nearest base.
CODES: dict[type[BaseException], Exit] = {
    KeyboardInterrupt: Exit.INTERRUPTED,
    InvalidArgument: Exit.USAGE,
    PayloadError: Exit.USAGE,
    NotFound: Exit.NOT_FOUND,
    Unavailable: Exit.UNAVAILABLE,
    DeadlineExceeded: Exit.UNAVAILABLE,
    Unauthenticated: Exit.NOT_ALLOWED,
    PermissionDenied: Exit.NOT_ALLOWED,
    # A file of certificates that cannot be read; an argument that is no text.
    OSError: Exit.USAGE,
    UnicodeEncodeError: Exit.USAGE,
    BaseException: Exit.NO,
}


def code_of(error: BaseException) -> Exit:
    """The exit code for an error."""
    if isinstance(error, Refused):
        return error.code
    return next(CODES[cls] for cls in type(error).__mro__ if cls in CODES)


def sentence_of(error: BaseException, target: str) -> str:
    """What went wrong in one sentence.

    Args:
        error: what was raised.
        target: the broker that was called.
    """
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object!r} is not text in UTF-8"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error)
    if isinstance(error, Unavailable) and not error.reason:
        # The text is gRPC's own, about addresses and system calls; its last part says what happened.
        return f"no broker answers at {target} ({text.rpartition(': ')[2]})"
    if isinstance(error, DeadlineExceeded):
        return f"no answer from {target} in time"
    if isinstance(error, Unauthenticated | PermissionDenied):
        return f"{target} does not allow this: {text}"
    return text


def facts_of(error: BaseException, target: str) -> dict[str, object]:
    """What went wrong, for programs: code, reason, field and sentence."""
    known = error if isinstance(error, BrokerError) else None
    return {
        "exit_code": int(code_of(error)),
        "code": known.code.name if known else "",
        "reason": known.reason if known else "",
        "field": known.field if known else "",
        "message": sentence_of(error, target),
    }
