"""Many writers, one reader: a periodic task drains a data queue a hundred items at a time and adds them up.

Run it with `python -m examples.aggregate`; it starts a broker and a worker, and ends them.
"""

from __future__ import annotations

import random
import threading
from collections import Counter

import dibs
from examples.running import broker, worker

WRITERS = 8
VISITS = 250
PAGES = ("/", "/about", "/prices", "/docs")

#: What the writers put: an item for each visit of a page. Lost by nobody: an item that was received and not done
#: within 30 s is received again.
visits = dibs.Data("visits", attempts=5, vis_timeout=30, use_dead=True)
#: What comes out: the sums of each hundred.
sums = dibs.Data("visit-sums", attempts=5, vis_timeout=30)


@dibs.periodic_task(0.5, low_delay_okay=True)
def aggregate() -> None:
    """Drain the queue: one sum for every hundred visits."""
    while batch := visits.get_data(items=100):
        sums.put_data(Counter(visit["page"] for visit in batch.values()))
        visits.done_data(batch)


def write(number: int) -> None:
    """One of the writers."""
    chance = random.Random(number)
    for _ in range(VISITS):
        visits.put_data({"page": chance.choice(PAGES), "writer": number})


def main() -> None:
    """Start everything, and wait until every visit has been counted."""
    with broker() as target, worker(target, "examples.aggregate"):
        dibs.connect(target)
        writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        total: Counter[str] = Counter()
        while total.total() < WRITERS * VISITS:
            found = sums.get_data(items=100, get_timeout=10)
            for counts in found.values():
                total.update(counts)
            sums.done_data(found)
        for writer in writers:
            writer.join()
        dibs.close()
    for page, count in total.most_common():
        print(f"{count:6,}  {page}")
    print(f"{total.total():6,}  visits, each counted once")


if __name__ == "__main__":
    main()
