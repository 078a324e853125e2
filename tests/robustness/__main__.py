"""``python -m tests.robustness``: one fault, several, or all, under load, with everything checked."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from types import FrameType

from .disk import NoSmallDisk
from .run import run
from .table import FAULTS


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    words = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    what = words.add_mutually_exclusive_group(required=True)
    what.add_argument("--fault", choices=FAULTS, metavar="NAME", action="append", help="this one; may be repeated")
    what.add_argument("--all", action="store_true", help="every fault, one after the other")
    what.add_argument("--list", action="store_true", help="tell the faults and what they may cost")
    words.add_argument("--seed", type=int, help="of all that is left to chance; default: a new one")
    words.add_argument("--seconds", type=float, help="how long a fault goes on; default: its own time")
    words.add_argument("--times", type=int, default=1, help="so often, with the next seed each time")
    words.add_argument("--keep", action="store_true", help="keep histories and logs of runs in which all holds, too")
    return words


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 if something was seen that must not be."""
    options = parser().parse_args(arguments)
    if options.list:
        tell()
        return 0
    signal.signal(signal.SIGTERM, _leave)  # so that no process of the run is left
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    failed = []
    for turn in range(options.times):
        for name in FAULTS if options.all else options.fault:
            print(f"{name} seed {seed + turn} ...", flush=True)
            try:
                report = run(FAULTS[name], seed + turn, options.seconds, keep=options.keep)
            except NoSmallDisk as error:
                print(f"{name}: left out: {error}", flush=True)
                continue
            print(report, flush=True)
            if report.violations:
                failed.append(report)
    for report in failed:
        print(f"BROKEN: {report.command}")
    return 1 if failed else 0


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def tell() -> None:
    """Print the table of faults."""
    for fault in FAULTS.values():
        print(f"{fault.name:20} {fault.summary}")
        expect = fault.expect
        costs = [
            f"at-most-once items lost: {expect.lost_once}" if expect.lost_once else "",
            f"uncounted runs of an item: {expect.uncounted}" if expect.uncounted else "",
            f"attempts of a task used unseen: {expect.unseen_tasks}" if expect.unseen_tasks else "",
            f"attempts of a data item used unseen: {expect.unseen_data}" if expect.unseen_data else "",
            f"recovery within {expect.recovery_s:g} s",
        ]
        print(f"{'':20} may cost: {'; '.join(cost for cost in costs if cost)}")
        if expect.because:
            print(f"{'':20} because {expect.because}")


if __name__ == "__main__":
    sys.exit(main())
