"""A disk that is soon full, for Redis to write to."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Enough for a run, with some room to fill up.
SIZE_MIB = 48


class NoTinyDisk(Exception):
    """A small file system cannot be mounted here; the text says why."""


@contextmanager
def tiny_disk(wanted: bool) -> Iterator[Path | None]:
    """A folder on a file system of its own of `SIZE_MIB`; None if it is not wanted.

    Raises:
        NoTinyDisk: only root may mount, or the mount is refused.
    """
    if not wanted:
        yield None
        return
    if os.geteuid() or shutil.which("mount") is None:
        raise NoTinyDisk("only root can mount a small file system to fill up")
    folder = Path(tempfile.mkdtemp(prefix="dibs-disk-"))
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoTinyDisk(f"no small file system can be mounted: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        shutil.rmtree(folder)
