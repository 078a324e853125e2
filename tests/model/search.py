"""Breadth first over all states, so that the history that is found is a shortest one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .promises import Broken, Promises
from .protocol import Bounds, Protocol
from .state import State, initial
from .steps import Model
from .tidying import tidy


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        states: how many were looked at.
        steps: between them.
        complete: these are all there are within the bounds.
        broken: the shortest history to each promise that does not hold, step by step.
    """

    states: int
    steps: int
    complete: bool
    broken: dict[Broken, list[str]]


def search(
    protocol: Protocol,
    bounds: Bounds,
    *,
    also: Broken | None = None,
    first_only: bool = False,
    seconds: float = 60.0,
) -> Found:
    """Look at every state that can be reached.

    Args:
        protocol: of what.
        bounds: how far.
        also: a promise that is not made, to be looked at as well.
        first_only: stop at the first promise that does not hold.
        seconds: after which the search is given up as not complete.
    """
    model, promises = Model(protocol, bounds), Promises(protocol, bounds, also)
    start = initial(bounds)
    came_by: dict[State, tuple[State | None, str]] = {start: (None, "")}
    frontier = [start]
    steps = 0
    broken: dict[Broken, list[str]] = {}
    end = time.monotonic() + seconds
    while frontier:
        following = []
        for state in frontier:
            for name, reached in model.steps(state):
                steps += 1
                after = tidy(reached, protocol)
                if after in came_by:
                    continue
                came_by[after] = (state, name)
                found = promises.broken(after, name, state)
                if found is None:
                    following.append(after)
                    continue
                broken.setdefault(found, _history(came_by, after))
                if first_only:
                    return Found(len(came_by), steps, True, broken)
            if len(came_by) > bounds.most_states or time.monotonic() > end:
                return Found(len(came_by), steps, False, broken)
        frontier = following
    return Found(len(came_by), steps, True, broken)


def _history(came_by: dict[State, tuple[State | None, str]], state: State) -> list[str]:
    names = []
    before, name = came_by[state]
    while before is not None:
        names.append(name)
        before, name = came_by[before]
    return names[::-1]
