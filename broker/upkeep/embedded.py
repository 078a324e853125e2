"""A private Redis: started with the broker, kept alive, stopped with it, its data kept in a folder between runs.

Two locks guard the folder. The broker holds one, so that two brokers never share it. The server itself holds the
other, through a descriptor that it inherits: the lock is free exactly when no server is left, however its broker
ended. The server is also killed with its broker where the system can do that (Linux).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from dibs.contract.pauses import Pauses

from ..config.addresses import MAX_SOCKET_PATH
from . import redis_programs
from .redis_programs import EmbeddedRedisError, Program

_log = logging.getLogger(__name__)

#: A server that has not answered by then is given up: a large append-only file takes its time to load.
START_TIMEOUT_S = 300.0
#: A server that has not stopped by then is killed; what it confirmed is in its file.
STOP_TIMEOUT_S = 60.0
_ASK_TIMEOUT_S = 5.0
_LOOK_S = 0.01
_RESTART_FIRST_S = 0.1
_RESTART_MOST_S = 5.0

# Closes the server's files to others, has the kernel end it with its broker (prctl 1 is PR_SET_PDEATHSIG), and then
# becomes the server. A program of its own instead of a preexec_fn: that would fork a process full of gRPC's threads.
_LAUNCH = """
import ctypes, os, signal, sys
os.umask(0o077)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedRedis:
    """One private Redis server on a unix socket.

    Args:
        data_dir: folder for its data, log and locks; made if it is not there, and closed to everybody else.
        server: path of the server program; None: one that is found on this machine (`redis_programs.choose`).

    Attributes:
        url: where it listens, for redis-py; valid after `start`.
    """

    def __init__(self, data_dir: Path, server: str | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self._path = server
        self._socket = self.data_dir / "redis.sock"
        self._stack = AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def url(self) -> str:
        """URL of the server for redis-py."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Process id of the server; None: it is not running now."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the server and wait until it has loaded its data and answers. Raises `EmbeddedRedisError`."""
        async with AsyncExitStack() as stack:
            paths = [self._path] if self._path else redis_programs.paths()
            _make_private(self.data_dir)
            stack.enter_context(_locked(self.data_dir / "broker.lock", f"another broker uses {self.data_dir}"))
            self._socket = _short_socket(self.data_dir)
            await self._end_leftover()
            program = await redis_programs.choose(paths, self.data_dir)
            await stack.enter_async_context(self._kept_running(program))
            redis_programs.remember(program, self.data_dir)
            _log.info("the private Redis is %s, its data is in %s", program, self.data_dir)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Stop the server with its data on disk; a second call does nothing."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()

    @asynccontextmanager
    async def _kept_running(self, program: Program) -> AsyncIterator[None]:
        """The server runs inside the with, and is started again if it ends by itself."""
        self._stopping = False
        await self._spawn(program)
        keeper = asyncio.create_task(self._keep(program), name="dibs-redis-keeper")
        try:
            yield
        finally:
            self._stopping = True
            # Only between two lives can the keeper be asleep or starting a server: then it is enough to cancel it.
            if self.pid is None:
                keeper.cancel()
            await self._end()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            _leave_socket(self._socket, self.data_dir)

    async def _keep(self, program: Program) -> None:
        pauses = Pauses(_RESTART_FIRST_S, _RESTART_MOST_S)
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._stopping:
                return
            _log.error("the private Redis ended by itself (%s), starting it again; see %s", code, self._log_file)
            await asyncio.sleep(pauses.next_s())
            try:
                await self._spawn(program)
                pauses.reset()
            except EmbeddedRedisError as error:
                _log.error("the private Redis did not start: %s", error)

    async def _spawn(self, program: Program) -> None:
        refusal = f"a Redis of an earlier run still uses {self.data_dir}"
        with (
            _locked(self.data_dir / "redis.lock", refusal) as lock,
            _appending(self._log_file) as log,
        ):
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())),
                *(program.path, *self._options()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                # Not for the terminal's Ctrl-C: the broker stops it when everything else has stopped.
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await _answers(self._socket):
                    if self._process.returncode is not None:
                        raise EmbeddedRedisError(f"{program} does not start: {self._last_words()}")
                    await asyncio.sleep(_LOOK_S)
        except BaseException as error:
            await self._end()
            if isinstance(error, TimeoutError):
                raise EmbeddedRedisError(f"{program} does not answer; see {self._log_file}") from None
            raise

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            _log.error("the private Redis did not stop in %g s and is killed", STOP_TIMEOUT_S)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _end_leftover(self) -> None:
        """End the server of a broker that died: it still writes to the data, and nobody owns it."""
        try:
            with _locked(self.data_dir / "redis.lock", ""):
                return
        except EmbeddedRedisError:
            _log.warning("taking over from a Redis that an earlier broker left behind in %s", self.data_dir)
        with contextlib.suppress(OSError, TimeoutError):
            await _ask(self._socket, b"SHUTDOWN")
        deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
        while True:
            try:
                with _locked(self.data_dir / "redis.lock", f"a Redis of an earlier run still uses {self.data_dir}"):
                    return
            except EmbeddedRedisError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_LOOK_S)

    @property
    def _log_file(self) -> Path:
        return self.data_dir / "redis.log"

    def _last_words(self) -> str:
        lines = self._log_file.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"see {self._log_file}"

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            # To standard output, which is the log file: what goes wrong before it reads this goes there as well.
            "logfile": "",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]


def _make_private(folder: Path) -> None:
    """Make the data folder if it is not there, and let nobody else into it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise EmbeddedRedisError(f"--data-dir {folder} cannot be made: {error.strerror}") from None
    if not found.st_mode & 0o077:
        return
    # Closing a folder such as /tmp would harm everybody who works in it.
    if found.st_mode & stat.S_ISVTX:
        raise EmbeddedRedisError(f"--data-dir {folder} is shared by everybody: name a folder of its own in it")
    try:
        folder.chmod(0o700)
    except OSError as error:
        # A volume that belongs to root and is open to our group, for one; what is written from now on is ours alone.
        _log.warning("others may look into --data-dir %s, which cannot be closed to them: %s", folder, error.strerror)


def _appending(path: Path) -> BinaryIO:
    """A file to append to, which nobody else may read if it is new."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


@contextlib.contextmanager
def _locked(path: Path, refusal: str) -> Iterator[int]:
    """Hold an exclusive lock on a file, until the with is left and every process that inherited it has ended."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedRedisError(refusal) from None
        yield descriptor
    finally:
        # Closed, not unlocked: unlocking would take the lock from the process that inherited it as well.
        os.close(descriptor)


def _short_socket(data_dir: Path) -> Path:
    """Where the socket goes: into the data folder, or if that path is too long for a socket, into a short one.

    The short one is found again by every broker of that data folder, and by nobody else.
    """
    socket = data_dir / "redis.sock"
    if len(os.fsencode(socket)) <= MAX_SOCKET_PATH:
        return socket
    name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"dibs-{os.getuid()}-{name}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EmbeddedRedisError(f"{folder} belongs to somebody else: use a shorter --data-dir")
    return folder / "redis.sock"


def _leave_socket(socket: Path, data_dir: Path) -> None:
    """Remove the socket, and the short folder if it has one."""
    socket.unlink(missing_ok=True)
    if socket.parent != data_dir:
        with contextlib.suppress(OSError):  # gone already, or something else lies there
            socket.parent.rmdir()


async def _ask(socket: Path, command: bytes) -> bytes:
    """Send one command of one word and answer the first line of the reply; empty: the server hung up."""
    async with asyncio.timeout(_ASK_TIMEOUT_S):
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            writer.write(command + b"\r\n")
            return (await reader.readline()).strip()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _answers(socket: Path) -> bool:
    """Whether the server is there and has loaded its data."""
    try:
        return await _ask(socket, b"PING") == b"+PONG"
    except (OSError, TimeoutError):
        return False
