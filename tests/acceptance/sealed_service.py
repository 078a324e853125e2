"""A service and its tasks whose payloads and results are encrypted."""

from __future__ import annotations

from fastapi import FastAPI

import dibs
from dibs.codecs import AesGcm
from dibs.contrib.fastapi import Connected, TaskResponse, lifespan, task_router

sealed = dibs.Dibs(codec=AesGcm({"k": bytes(32)}))
app = FastAPI(lifespan=lifespan(dibs.AsyncDibs(of=sealed)))
app.include_router(task_router(), prefix="/tasks")


@sealed.task(name="double", save_results=60)
def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


@app.post("/doubles")
async def start(number: int, connected: Connected) -> TaskResponse[int]:
    return TaskResponse.of(await double.on(connected).execute(number))
