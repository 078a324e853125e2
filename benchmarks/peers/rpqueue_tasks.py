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


_BATCH = 100
_PAYLOAD = "x" * 100


def _data_queue():
    return rpqueue.Data(b"bench-data", attempts=3, vis_timeout=60)


def _put(queue, first, count):
    for at in range(first, first + count, _BATCH):
        queue.put_data([[number, _PAYLOAD] for number in range(at, at + _BATCH)])


def _wait():
    print("ready", flush=True)
    sys.stdin.readline()


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
        items = int(sys.argv[2])
        queue = _data_queue()
        started = time.perf_counter()
        _put(queue, 0, items)
        got = set()
        while len(got) < items:
            found = queue.get_data(_BATCH, vis_timeout=60)
            got.update(value[0] for value in found.values())
            queue.done_data(found)
        print(time.perf_counter() - started)
    elif sys.argv[1:2] == ["put"]:
        queue = _data_queue()
        _wait()
        _put(queue, int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["take"]:
        queue, tally, last = _data_queue(), from_environment(), 0.0
        _wait()
        while found := queue.get_data(_BATCH, vis_timeout=60, get_timeout=2):
            for value in found.values():
                tally.hit(value[0])
            queue.done_data(found)
            last = time.monotonic()
        print(last, flush=True)
    else:
        rpqueue.execute_tasks(queues=[b"bench"], threads_per_process=1, processes=1, module="rpqueue_tasks")
