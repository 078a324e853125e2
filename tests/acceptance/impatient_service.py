"""Services for tests: one that does not wait for its broker, and one that forgot its lifespan."""

from __future__ import annotations

from fastapi import FastAPI

import dibs
from dibs.contrib.fastapi import Connected, TaskResponse, error_handlers, lifespan, task_router

app = FastAPI(lifespan=lifespan(dibs.AsyncDibs(timeout=0.5)), exception_handlers=error_handlers())
without_lifespan = FastAPI()
without_lifespan.include_router(task_router(), prefix="/tasks")


@dibs.task(name="impatient")
def work() -> None:
    """Does nothing."""


@app.post("/start")
async def start(connected: Connected) -> TaskResponse[None]:
    return TaskResponse.of(await work.on(connected).execute())
