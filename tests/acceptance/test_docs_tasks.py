"""docs/tasks.md, performed: its module in a real worker, its programs as processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ..support.processes import running_broker, running_dibs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text()


def test_the_page_tells_the_truth(tmp_path: Path) -> None:
    module, *programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == 4
    (tmp_path / "pages.py").write_text(module)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with running_broker() as broker:
        env = {**os.environ, "PYTHONPATH": path, "DIBS_TARGET": broker.address}
        with running_dibs("worker", "pages", "--threads", "4", env=env, cwd=tmp_path) as worker:
            worker.until_printed("registered")
            for program in programs:
                command = [sys.executable, "-c", program]
                done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
                assert done.returncode == 0, done.stderr
