"""What a task may say of its call, instead of returning or failing: again later, never again, not yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ..contract.limits import CONTRACT
from ..rpc.times import Seconds, to_seconds

#: One class of exceptions, or several.
ErrorClasses: TypeAlias = type[BaseException] | Iterable[type[BaseException]]


class Disposition(Exception):
    """Base of what a task raises to say what becomes of its call. A plain call of the function passes it on.

    Attributes:
        delay: seconds until the next delivery; None: as the task has it.
        reason: why, for people: the log, and whoever reads the error of the call.
    """

    def __init__(self, delay: float | None, reason: str) -> None:
        super().__init__(delay, reason)
        self.delay = delay
        self.reason = reason

    def __str__(self) -> str:
        """The reason."""
        return self.reason


class Retry(Disposition):
    """This attempt failed; the next comes after `delay`, if one is left. For tasks with a lease.

    Args:
        delay: seconds or a timedelta, up to 366 days. Default: as after any other exception.
        reason: why.

    Raises:
        ValueError: the delay is out of range.

    Example::

        raise dibs.Retry(reply.retry_after) from error
    """

    def __init__(self, delay: Seconds | None = None, reason: str = "") -> None:
        super().__init__(None if delay is None else _checked(delay), reason)

    def __reduce__(self) -> tuple[type[Retry], tuple[float | None, str]]:
        """As it was made."""
        return type(self), (self.delay, self.reason)


class Reject(Disposition):
    """The call has failed for good, whatever attempts are left; a dead letter, if the task has `use_dead`.

    Args:
        reason: why.

    Example::

        raise dibs.Reject(f"there is no order {number}")
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(None, reason)

    def __reduce__(self) -> tuple[type[Reject], tuple[str]]:
        """As it was made."""
        return type(self), (self.reason,)


class Snooze(Disposition):
    """Not yet: the call is delivered again after `delay`, and this delivery uses no attempt. For tasks with a lease.

    A task may snooze without end: nothing counts how often.

    Args:
        delay: seconds or a timedelta, above 0 and up to 366 days.
        reason: why, for the log.

    Raises:
        ValueError: the delay is out of range.

    Example::

        if not door_is_open():
            raise dibs.Snooze(60)
    """

    delay: float

    def __init__(self, delay: Seconds, reason: str = "") -> None:
        seconds = _checked(delay)
        if not seconds:
            # It would come back at once, and again.
            raise ValueError("the delay of Snooze must be more than 0")
        super().__init__(seconds, reason)

    def __reduce__(self) -> tuple[type[Snooze], tuple[float, str]]:
        """As it was made."""
        return type(self), (self.delay, self.reason)


@dataclass(frozen=True)
class ErrorRules:
    """After which exceptions there is another attempt.

    Attributes:
        retry_on: after these alone; None: after any.
        give_up_on: after none of these, also if they are among the others.
    """

    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()

    @classmethod
    def build(cls, retry_on: ErrorClasses | None = None, give_up_on: ErrorClasses | None = None) -> ErrorRules:
        """Check what a decorator was given.

        Raises:
            TypeError: something is no class of exceptions; the text names the argument.
        """
        return cls(
            None if retry_on is None else _classes(retry_on, "retry_on"),
            () if give_up_on is None else _classes(give_up_on, "give_up_on"),
        )

    @property
    def any(self) -> bool:
        """Whether there is a rule."""
        return self.retry_on is not None or bool(self.give_up_on)

    def give_up(self, error: BaseException) -> bool:
        """Whether a call that raised this is not tried again, whatever attempts are left."""
        if isinstance(error, self.give_up_on):
            return True
        return self.retry_on is not None and not isinstance(error, self.retry_on)


NO_RULES = ErrorRules()


def _checked(delay: Seconds) -> float:
    seconds = to_seconds(delay, "delay")
    if seconds > CONTRACT.max_delay:
        raise ValueError(f"delay must be at most {CONTRACT.max_delay / 86_400:g} days, not {delay!r}")
    return seconds


def _classes(given: ErrorClasses, name: str) -> tuple[type[BaseException], ...]:
    classes: tuple[object, ...] = (
        tuple(given) if isinstance(given, Iterable) and not isinstance(given, type) else (given,)
    )
    checked: list[type[BaseException]] = []
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise TypeError(f"{name} takes classes of exceptions, not {one!r}")
        checked.append(one)
    return tuple(checked)
