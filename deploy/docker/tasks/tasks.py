"""What the workers of docker-compose.yml can do; put your own tasks in its place."""

from __future__ import annotations

import dibs


@dibs.task(queue="hello", attempts=3, vis_timeout=30, save_results=60)
def hello(name: str) -> str:
    """Greets."""
    return f"Hello, {name}!"
