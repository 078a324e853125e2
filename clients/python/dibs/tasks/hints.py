"""What to write here for what other task queues call otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: Methods that enqueue a call elsewhere: how the same is written here.
METHODS = {
    "delay": "execute(...)",
    "apply_async": "execute(...), or options(delay=..., queue=...).execute(...)",
    "send": "execute(...)",
    "send_with_options": "options(...).execute(...)",
    "kiq": "execute(...)",
    "enqueue": "execute(...)",
    "perform_async": "execute(...)",
    "s": "a call that is made later: functools.partial(task.execute, ...)",
    "si": "a call that is made later: functools.partial(task.execute, ...)",
}

#: Keywords of a call elsewhere: how the same is written here.
_KEYWORDS = {
    "at": "options(at=...)",
    "attempts": "attempts= in the decorator, or options(attempts=...)",
    "countdown": "delay=, in seconds",
    "defer_by": "delay=, in seconds",
    "enqueue_in": "delay=, in seconds",
    "eta": "options(at=...), a datetime with a time zone",
    "headers": "options(headers=...)",
    "job_id": "taskid=",
    "jobid": "taskid=",
    "max_retries": "attempts= in the decorator",
    "on_conflict": "options(on_conflict=...)",
    "priority": "dibs.set_priority, for a queue, and options(queue=...)",
    "queue": "options(queue=...)",
    "queue_name": "options(queue=...)",
    "result_ttl": "save_results= in the decorator",
    "retries": "attempts= in the decorator",
    "schedule": "options(at=...), or @dibs.cron_task",
    "task_id": "taskid=",
    "ttr": "vis_timeout= in the decorator",
}


def for_keywords(unknown: Iterable[str], parameters: Iterable[str]) -> str:
    """What to add to an error about keywords that a function does not take; empty: nothing comes to mind."""
    names = list(parameters)
    hints = []
    for keyword in unknown:
        close = get_close_matches(keyword, names, 1)
        if close:
            hints.append(f"did you mean {close[0]}?")
        elif keyword in _KEYWORDS:
            hints.append(f"{keyword} is {_KEYWORDS[keyword]} here")
    return "".join(f"; {hint}" for hint in hints)


def for_names(name: str, known: Iterable[str]) -> str:
    """What to add to a text about a name that nobody knows."""
    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
