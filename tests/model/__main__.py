"""``python -m tests.model``: whether the delivery protocol keeps its promises, and what each part of it is for."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from .promises import Broken
from .protocol import DELIVERY, UNNAMED, Bounds, Protocol
from .scenarios import AGAIN, AGAIN_TWICE, ALL, DEEP, ONCE, PARTS
from .search import Found, search

_DEEP_S = 900.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at what was asked for; 1 if a promise does not hold, or if a part turns out not to be needed."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--deep", action="store_true", help="larger bounds, up to 15 minutes each")
    parser.add_argument("--unnamed", action="store_true", help="the protocol from before leases had names")
    options = parser.parse_args(arguments)
    gc.disable()  # nothing here is in a circle, and the collector would take a third of the time
    if options.unnamed:
        for bounds in (replace(AGAIN, machine_crashes=0), AGAIN_TWICE, ONCE):
            _look(UNNAMED, bounds)
        return 0
    broken = [_look(DELIVERY, bounds).broken for bounds in (DEEP if options.deep else ALL)]
    needed = [_needed(part, bounds) for part, bounds in PARTS]
    print("What cannot be had together:")
    _conflict("never more runs than attempts, beginning at once", DELIVERY, AGAIN, Broken.EVERY_RUN_COUNTED)
    echo = replace(DELIVERY, echo=True)
    _conflict("the same, beginning when the receipt is in Redis", echo, AGAIN, Broken.EVERY_RUN_COUNTED)
    _conflict("an at-most-once item is never lost", DELIVERY, ONCE, Broken.ONCE_NEVER_LOST)
    return int(any(broken) or not all(needed))


def _look(protocol: Protocol, bounds: Bounds) -> Found:
    began = time.monotonic()
    found = search(protocol, bounds, seconds=_DEEP_S)
    many = "all" if found.complete else "only the first"
    print(
        f"{bounds.name}: {many} {found.states:,} states, {found.steps:,} steps, {time.monotonic() - began:.1f} s: ",
        end="",
    )
    print("holds" if not found.broken else "BROKEN", flush=True)
    for promise, names in found.broken.items():
        print(f"  {promise}")
        for number, name in enumerate(names, 1):
            print(f"    {number:2}. {name}")
    return found


def _needed(part: str, bounds: Bounds) -> bool:
    """Whether something breaks without a part."""
    found = search(replace(DELIVERY, **{part: False}), bounds, first_only=True)
    for promise, names in found.broken.items():
        print(f"without {part}: {promise}, in {len(names)} steps, the last: {names[-1]}")
    if not found.broken:
        print(f"without {part}: nothing breaks, so that it is not needed")
    return bool(found.broken)


def _conflict(text: str, protocol: Protocol, bounds: Bounds, promise: Broken) -> None:
    found = search(protocol, bounds, also=promise, first_only=True)
    print(f"  {text}: {'cannot be kept' if found.broken else 'holds' if found.complete else 'not found'}")


if __name__ == "__main__":
    sys.exit(main())
