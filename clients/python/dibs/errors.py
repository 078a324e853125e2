"""What can go wrong, and how it is told.

::

    DibsError
    ├── BrokerError                 the broker refused or could not be reached (.code .reason .metadata)
    │   ├── InvalidArgument         a value is out of range (.field); also a ValueError
    │   ├── NotFound                what was named is not there; also a LookupError
    │   ├── AlreadyExists           what was to be made is there already
    │   ├── FailedPrecondition      not in this state of things
    │   ├── LimitExceeded           too large, too many, or too often
    │   ├── Unauthenticated         no valid credentials
    │   ├── PermissionDenied        these credentials may not do this
    │   ├── Unavailable             broker or Redis away; also a ConnectionError
    │   └── DeadlineExceeded        no answer in time; also a TimeoutError
    ├── PayloadError                arguments, data or a result that are not JSON; also a ValueError
    │   └── CodecError              they are encoded, and cannot be decoded here (.codec)
    ├── UnknownTask                 no task of that name is registered; also a KeyError and a ValueError
    ├── TaskNotFinished             get() waited long enough; also a TimeoutError
    ├── TaskFailed                  the task raised (.traceback is the remote text)
    │   ├── TaskCancelled           somebody cancelled it
    │   └── TaskExpired             it waited longer than it may, and was never run
    ├── ResultUnavailable           the task is done and no result was kept, or it is forgotten
    └── NoLock                      a lock is held by somebody else, or was lost

    BaseException
    └── TimeLimitExceeded           raised in a task whose run takes longer than its time limit

`Unavailable` and `DeadlineExceeded` are raised after the client's own retries are used up.
Branch on the class, or on `BrokerError.reason`, which is meant for programs; texts are for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import grpc


class DibsError(Exception):
    """Base of everything that this package raises on purpose."""


class BrokerError(DibsError):
    """The broker answered with an error, or did not answer.

    Attributes:
        code: the gRPC status code.
        reason: machine-readable reason, in CAPITALS; empty when the broker gave none.
        metadata: details that belong to the reason, such as a limit and its value.
        field: path of the offending field of the request; empty when there is none.
        retry_after: how long the broker asks to wait before another attempt, if it does.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field: str = "",
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field = field
        self.retry_after = retry_after


class InvalidArgument(BrokerError, ValueError):
    """A value of the call is out of range; `field` names it. Never worth a retry."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(BrokerError, LookupError):
    """What the call names is not there."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(BrokerError):
    """What the call would make is there already."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(BrokerError):
    """Things are not in a state in which this can be done."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class LimitExceeded(BrokerError):
    """Something is too large, too many or too often."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unauthenticated(BrokerError):
    """The call carried no valid credentials."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(BrokerError):
    """The credentials do not allow this call, such as for another namespace."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unavailable(BrokerError, ConnectionError):
    """The broker, or the Redis behind it, could not be reached before the retries ran out of time."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(BrokerError, TimeoutError):
    """No answer came in time. A change may or may not have been made."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class PayloadError(DibsError, ValueError):
    """Arguments, data or a result cannot be written as JSON, or what came in is not what it should be."""


class CodecError(PayloadError):
    """What came in cannot be decoded here: no such codec or key, or other bytes than were written. It stays as it is.

    Attributes:
        codec: how it says that it was encoded, such as ``zlib,aes-gcm:2026-11``; empty: it is plain where nothing
            plain is taken.
    """

    def __init__(self, message: str, *, codec: str = "") -> None:
        super().__init__(message)
        self.codec = codec


class UnknownTask(DibsError, KeyError, ValueError):
    """No task of that name is registered in this process.

    Args:
        name: the name that was asked for.
        hint: what may have been meant.

    Attributes:
        name: the name that was asked for.
    """

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(name, hint)
        self.name = name
        self._hint = hint

    def __str__(self) -> str:
        """What is missing, and why that may be."""
        return f"no task is registered under the name {self.name!r}{self._hint or '; has its module been imported?'}"


class TaskNotFinished(DibsError, TimeoutError):
    """The task was not done when the time to wait for it had passed."""


class TaskFailed(DibsError):
    """The task raised, or was given up.

    Attributes:
        taskid: id of the task.
        name: name of the task; empty when not known.
        traceback: the text that the worker sent, as a rule the remote traceback.
    """

    def __init__(self, taskid: str, name: str = "", traceback: str = "") -> None:
        super().__init__(taskid, name, traceback)
        self.taskid = taskid
        self.name = name
        self.traceback = traceback

    def __str__(self) -> str:
        """What failed, followed by the remote traceback."""
        what = f"task {self.name or '(unnamed)'} {self.taskid} failed"
        return f"{what}\n\n{self.traceback.rstrip()}" if self.traceback else what


class TimeLimitExceeded(BaseException):
    """Raised inside of a plain function whose run takes longer than its task's `time_limit`.

    A function may catch it to tidy up, and raise it on; what it returns all the same counts. It is no `Exception`, so
    that loops which catch those and try again are left, too.
    """


class TaskExpired(TaskFailed):
    """The task waited longer than its `expires`, and nobody runs it any more."""

    def __str__(self) -> str:
        """Which task it was, and how long it may wait."""
        return f"task {self.name or '(unnamed)'} {self.taskid} {self.traceback or 'expired'}"


class TaskCancelled(TaskFailed):
    """The task was cancelled, so there is no result."""

    def __str__(self) -> str:
        """Which task it was."""
        return f"task {self.name or '(unnamed)'} {self.taskid} was cancelled"


class ResultUnavailable(DibsError):
    """The task is done, or was never there, and no result is kept of it (see `save_results`)."""


class NoLock(DibsError):
    """A lock is held by somebody else, or is no longer held by us."""
