"""Three stages, each reading one data queue and writing the next; what a stage cannot do becomes a dead letter.

Run it with `python -m examples.pipeline`; it starts a broker, and ends it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import dibs
from examples.running import broker

raw = dibs.Data("raw", attempts=2, vis_timeout=10, use_dead=True)
parsed = dibs.Data("parsed", attempts=2, vis_timeout=10, use_dead=True)
priced = dibs.Data("priced", attempts=2, vis_timeout=10)
dead = dibs.Data(dibs.DEADLETTER_QUEUE)

PRICES = {"apple": 0.4, "pear": 0.5}


def parse(line: str) -> dict[str, Any]:
    """``3 apple`` to a record."""
    count, _, fruit = line.partition(" ")
    return {"count": int(count), "fruit": fruit}


def price(record: dict[str, Any]) -> dict[str, Any]:
    """Look the price up; a fruit without one is a KeyError."""
    return {**record, "price": record["count"] * PRICES[record["fruit"]]}


def stage(source: dibs.Data, work: Callable[[Any], Any], sink: dibs.Data) -> None:
    """Work a queue off, until nothing has come for two seconds."""
    for batch in source.stream(items=50, get_timeout=2):
        results = []
        for id, item in batch.items():
            try:
                results.append(work(item))
            except (ValueError, KeyError) as error:
                batch.fail(id, repr(error), delay=0)
        # First put, then done: if this process dies in between, items are worked on twice, and never lost.
        sink.put_data(results)


def run() -> list[dict[str, Any]]:
    """Both stages side by side, and then what came out of them."""
    stages = [threading.Thread(target=stage, args=args) for args in ((raw, parse, parsed), (parsed, price, priced))]
    for thread in stages:
        thread.start()
    for thread in stages:
        thread.join()
    found = priced.get_data(items=1000)
    priced.done_data(found)
    return list(found.values())


def main() -> None:
    """Run it, look at the dead letters, mend what was wrong, and send them back."""
    with broker() as target:
        dibs.connect(target)
        raw.put_data([f"{count} {fruit}" for count in range(1, 101) for fruit in ("apple", "pear", "plum")])
        print(f"{len(run())} records priced")
        letters = dead.get_data(items=1000, vis_timeout=-1)
        reasons = {letter[3]["last_error"] for letter in letters.values()}
        print(f"{len(letters)} dead letters after 2 attempts each: {', '.join(reasons)}")
        PRICES["plum"] = 0.3
        print(f"{dead.redrive()} sent back, {len(run())} records priced")
        print(
            f"left over: {sum(queue.currently_available() != (0, 0) for queue in (raw, parsed, priced, dead))} queues"
        )
        dibs.close()


if __name__ == "__main__":
    main()
