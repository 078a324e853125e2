"""Tasks that the kits are tested with. What they have done stands in `journal`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dibs
from dibs import CURRENT_TASK, Backoff, Dibs

app = Dibs()
#: Names and details of what has run, in order.
journal: list[tuple[Any, ...]] = []

#: Long enough for a test to see that something has not run, short enough to wait for.
SOON_S = 0.4


def now() -> dibs.RunningTask:
    running = CURRENT_TASK.task
    assert running is not None
    return running


@app.task(save_results=60)
def add(a: int, b: int) -> int:
    journal.append(("add", a, b))
    return a + b


@app.task(save_results=60)
async def add_async(a: int, b: int) -> int:
    journal.append(("add_async", a, b))
    return a + b


@app.task(save_results=60)
def echo(*args: Any, **named: Any) -> Any:
    named.pop("_attempts", None)
    return [list(args), named]


@app.task
def forget(mark: str) -> str:
    journal.append(("forget", mark))
    return mark


@app.task(save_results=60)
def fail(text: str) -> None:
    journal.append(("fail", text))
    raise ValueError(text)


@app.task(save_results=60)
def unspeakable() -> object:
    return {1, 2}


@app.task(save_results=60, attempts=3, vis_timeout=60, retry_delay=SOON_S)
def third_time(wanted: int) -> int:
    attempt = now().attempt
    journal.append(("third_time", attempt, now().attempts, bool(now().last_error)))
    if attempt < wanted:
        raise ValueError(f"not at attempt {attempt}")
    return attempt


@app.task(save_results=60, attempts=2, vis_timeout=60, backoff=Backoff(initial=SOON_S, jitter=0))
def backing_off() -> None:
    journal.append(("backing_off", now().attempt))
    raise ValueError("again")


@app.task(save_results=60, attempts=2, vis_timeout=60, retry_delay=0, use_dead=True)
def doomed(text: str) -> None:
    journal.append(("doomed", now().attempt))
    raise ValueError(text)


@app.task(save_results=60, attempts=2, retry_delay=0)
def asks_again() -> str:
    attempt = now().attempt
    journal.append(("asks_again", now().taskid, attempt))
    return str(asks_again.retry() is not None) if attempt == 1 else f"done at {attempt}"


@app.task(save_results=60)
def who() -> list[Any]:
    return [now().name, now().queue, dict(now().headers)]


@app.task(save_results=60)
def parent(count: int) -> str:
    for number in range(count):
        add.execute(number, 1)
    journal.append(("parent",))
    return "parent"


@app.task(save_results=SOON_S)
def short_lived() -> int:
    return 1


@app.periodic_task(SOON_S, low_delay_okay=True)
def ticks() -> None:
    journal.append(("ticks", datetime.now().timestamp()))
