"""Processes that are replaced when their code changes: for development. Needs ``dibs[reload]``."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol, TypeAlias

from ..shared.logs import Said

_log = logging.getLogger("dibs.worker")

#: Sets of paths that have changed, as they do.
Changes: TypeAlias = Callable[[], AsyncIterator[set[str]]]
#: Files that a line names.
_LISTED = 3


class Renewed(Protocol):
    """A worker whose processes can be replaced."""

    def renew(self, why: str) -> None:
        """Replace all."""


def changes_below(folder: Path) -> Changes:
    """Changes of Python files below a folder, but for those of environments and caches.

    Raises:
        ValueError: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, awatch
    except ImportError as error:
        raise ValueError("--reload needs watchfiles: pip install 'dibs[reload]'") from error

    async def changes() -> AsyncIterator[set[str]]:
        async for found in awatch(folder, watch_filter=PythonFilter()):
            yield {path for _, path in found}

    return changes


async def keep_fresh(changes: Changes, worker: Renewed) -> None:
    """Replace the processes of a worker at each change."""
    async for found in changes():
        names = ", ".join(sorted(Path(path).name for path in found)[:_LISTED])
        _log.info(Said("code has changed, replacing processes", files=names))
        worker.renew("code has changed")
