"""The work of the service; ``dibs worker examples.fastapi_service.tasks`` does it."""

from __future__ import annotations

import time

import dibs


@dibs.task(queue="reports", save_results=3600, attempts=3, vis_timeout=30)
def make_report(year: int, seconds: float = 0.2) -> dict[str, int]:
    """Adds something up, slowly."""
    if year < 1900:
        raise dibs.Reject("there are no records before 1900")
    time.sleep(seconds)
    return {f"{year}-{month:02}": year * month for month in (1, 2, 3)}
