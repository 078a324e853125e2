"""A FastAPI service whose requests end at once, while their work goes on.

dibs dev examples.fastapi_service.tasks            # a broker and a worker
uvicorn examples.fastapi_service.service:app
curl -X POST 'http://127.0.0.1:8000/reports?year=2026'
"""

from __future__ import annotations

from fastapi import FastAPI

from dibs.contrib.fastapi import Connected, TaskResponse, error_handlers, lifespan, task_router

from .tasks import make_report

app = FastAPI(title="Reports", lifespan=lifespan(), exception_handlers=error_handlers())
app.include_router(task_router(), prefix="/tasks")


@app.post("/reports", status_code=202)
async def start(year: int, dibs: Connected, seconds: float = 0.2) -> TaskResponse[dict[str, int]]:
    """Begin a report; ``/reports/{id}`` has it when it is done."""
    return TaskResponse.of(await make_report.on(dibs).execute(year, seconds=seconds))


@app.get("/reports/{id}")
async def report(id: str, dibs: Connected, wait: float = 0) -> TaskResponse[dict[str, int]]:
    """A report, or how far it is."""
    return await TaskResponse[dict[str, int]].fetch(dibs.handle(id), wait=wait)
