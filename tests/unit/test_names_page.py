"""docs/names.md names what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import dibs
from dibs.tasks import hints
from dibs.tasks.options import OVERRIDES

PAGE = (Path(__file__).parents[2] / "docs" / "names.md").read_text()
#: The first cells of its table.
OURS = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]


def test_every_name_of_dibs_on_the_page_exists() -> None:
    keywords = {
        *inspect.signature(dibs.task).parameters,
        *inspect.signature(dibs.Task.options).parameters,
        *OVERRIDES,
    }
    text = " ".join(OURS)

    assert len(OURS) > 20
    assert [name for name in re.findall(r"dibs\.(\w+)", text) if not hasattr(dibs, name)] == []
    assert [name for name in re.findall(r"task\.(\w+)\(", text) if not hasattr(dibs.Task, name)] == []
    assert [name for name in re.findall(r"(\w+)=", text) if name not in keywords] == []
    assert [name for name in ("get_data", "done_data") if not hasattr(dibs.Data, name)] == []


def test_every_method_that_a_task_answers_for_is_on_the_page() -> None:
    for name in hints.METHODS.keys() - {"s", "si"}:
        assert f"`{name}`" in PAGE or f"({name}" in PAGE or f"{name}(" in PAGE, name
