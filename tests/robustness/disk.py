"""Where Redis stores its data: in memory, so that other users of this machine's disk do not hold it up, or where it is
soon full."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Of a small disk: enough for a run, with some room to fill up.
SIZE_MIB = 48
#: Files in it outlive the processes that wrote them, as long as the machine runs.
_MEMORY = Path("/dev/shm")


class NoSmallDisk(Exception):
    """A small file system cannot be mounted here; the text says why."""


@contextmanager
def disk(*, small: bool) -> Iterator[Path]:
    """An empty folder, removed with the with.

    Args:
        small: on a file system of its own of `SIZE_MIB`.

    Raises:
        NoSmallDisk: only root may mount one, or the mount is refused.
    """
    folder = Path(tempfile.mkdtemp(prefix="dibs-redis-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    try:
        if small:
            with _mounted(folder):
                yield folder
        else:
            yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    if os.geteuid() or shutil.which("mount") is None:
        raise NoSmallDisk("only root can mount a small file system to fill up")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoSmallDisk(f"no small file system can be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
