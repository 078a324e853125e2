"""The no-op task for rpqueue, its worker (`python rpqueue_tasks.py`) and its producer (`... enqueue N`)."""

import os
import sys
import time

import rpqueue
from tally import from_environment

# It logs every task unless told not to.
rpqueue.LOG_LEVEL = "WARNING"
rpqueue.set_redis_connection_settings(host="127.0.0.1", port=int(os.environ["DIBS_BENCH_REDIS_PORT"]))


def _hit(item, seen=[]):  # noqa: B006
    if not seen:
        seen.append(from_environment())
    seen[0].hit(item)


@rpqueue.task(queue=b"bench")
def once(item):
    _hit(item)


@rpqueue.task(queue=b"bench", vis_timeout=60, attempts=3)
def again(item, **attempts):
    _hit(item)


if __name__ == "__main__":
    # The names of tasks are those of this module as imported, in both roles.
    import rpqueue_tasks

    if sys.argv[1:2] == ["enqueue"]:
        task = getattr(rpqueue_tasks, sys.argv[3])
        started = time.perf_counter()
        for item in range(int(sys.argv[2])):
            task.execute(item)
        print(time.perf_counter() - started)
    elif sys.argv[1:2] == ["data"]:
        items, batch = int(sys.argv[2]), 100
        queue = rpqueue.Data(b"bench-data", attempts=3, vis_timeout=60)
        payload = ["x" * 100]
        started = time.perf_counter()
        got = set()
        for at in range(0, items, batch):
            queue.put_data([[n, payload] for n in range(at, at + batch)])
        while len(got) < items:
            found = queue.get_data(batch, vis_timeout=60)
            got.update(value[0] for value in found.values())
            queue.done_data(found)
        print(time.perf_counter() - started)
    else:
        rpqueue.execute_tasks(queues=[b"bench"], threads_per_process=1, processes=1, module="rpqueue_tasks")
