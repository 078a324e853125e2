"""Errors that a program keeps must not keep gRPC running: a fork could not end it, and its child could not use it."""

from __future__ import annotations


def let_go(error: BaseException | None, outside: BaseException | None) -> None:
    """Forget where in a call an error came up: its frames have the call, and with that the channel goes on.

    Args:
        error: it, with whatever was being handled when it was raised, and so on.
        outside: what was being handled before the call, and is none of ours.
    """
    while error is not None and error is not outside:
        error.__traceback__ = None
        error = error.__context__
