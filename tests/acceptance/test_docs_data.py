"""docs/data.md, performed: its code from top to bottom, with what it says of the values."""

from __future__ import annotations

import re
from pathlib import Path

import dibs

from ..support.processes import running_broker

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()


def test_the_page_tells_the_truth() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    with running_broker() as broker:
        dibs.connect(broker.address)
        names: dict[str, object] = {}
        try:
            for block in blocks:
                exec(compile(block, "docs/data.md", "exec"), names)
        finally:
            dibs.close()
