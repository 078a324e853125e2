"""Warnings about arguments of a decorator that can have no effect beside the others."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator

from ..enqueueing.policy import Policy
from .dispositions import ErrorRules

_PACKAGE = __name__.partition(".")[0]


def warn_of_no_effect(policy: Policy, rules: ErrorRules) -> None:
    """Warn, in the name of the line that calls dibs, of what can have no effect."""
    for text in no_effect(policy, rules):
        warnings.warn(text, UserWarning, stacklevel=_callers_level())


def no_effect(policy: Policy, rules: ErrorRules) -> Iterator[str]:
    """What can have no effect, and what to write instead, a sentence each."""
    again = policy.vis_timeout > 0 or policy.lease > 0
    if policy.use_dead and not again and not policy.save_results:
        yield (
            "use_dead has no effect: a call that is delivered at most once, and of which nothing is kept, is not known "
            "any more once a worker has it; write lease= or save_results= beside it"
        )
    if policy.time_limit is not None and 0 < policy.vis_timeout <= policy.time_limit:
        yield (
            "time_limit has no effect before the vis_timeout is over, and the call is delivered again by then; write "
            "lease= instead of vis_timeout=, which is renewed while it runs"
        )
    if policy.backoff is not None and policy.attempts == 1:
        yield (
            "backoff has no effect on calls with one attempt; write attempts= beside it, and lease= if exceptions "
            "shall have a call tried again"
        )
    if rules.any and not again:
        yield (
            "retry_on and give_up_on have no effect: no exception has a call tried again that is delivered at most "
            "once; write lease= beside them"
        )


def _callers_level() -> int:
    """For `warnings.warn` in the function that asks: the first frame that is none of dibs."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(module: str) -> bool:
    return module == _PACKAGE or module.startswith(_PACKAGE + ".")
