"""Tasks of the tests of frozen workers, one for each lane: they write what they do into a journal."""

from __future__ import annotations

import dibs

from .jobs import note


@dibs.task(name="plain", vis_timeout=2, attempts=5, save_results=60)
def plain(label: str) -> None:
    note(label)


@dibs.task(name="coroutine", vis_timeout=2, attempts=5, save_results=60)
async def coroutine(label: str) -> None:
    note(label)
