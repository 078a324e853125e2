"""A broker and a worker for an example, on a free port and with data of its own; both end with the with."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def broker() -> Iterator[str]:
    """`dibs broker` with a private Redis; gives its address."""
    with tempfile.TemporaryDirectory(prefix="dibs-example-") as folder:
        ready = Path(folder, "ready")
        options = ["--listen", "127.0.0.1:0", "--data-dir", f"{folder}/redis", "--ready-file", str(ready)]
        with _dibs("broker", *options, "--log-level", "warning") as process:
            while not ready.exists():
                if process.poll() is not None:
                    sys.exit("the broker did not start")
                time.sleep(0.01)
            yield ready.read_text().split()[0]


@contextmanager
def worker(target: str, module: str) -> Iterator[None]:
    """`dibs worker` for the tasks of a module."""
    with _dibs("worker", module, "--target", target, "--log-level", "warning"):
        yield


@contextmanager
def _dibs(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "dibs", *words], cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
