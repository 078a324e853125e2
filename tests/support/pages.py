"""Pages of docs/ as tests perform them: their commands, and whether those print what the page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator


def commands(page: str) -> Iterator[tuple[str, str]]:
    """Each command of the console blocks, and what the page says that it prints."""
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = entry.partition("\n")
            yield command, output


def matches(shown: str, printed: str) -> bool:
    """Whether what the page shows is what was printed; ``…`` stands for anything, and blanks do not count."""
    parts = (re.escape("".join(part.split())) for part in shown.split("…"))
    return re.fullmatch(".*".join(parts), "".join(printed.split()), re.DOTALL) is not None
