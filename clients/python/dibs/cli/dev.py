"""`dibs dev`: a broker and a worker together, each a process of its own, to develop tasks with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..rpc.targets import TLS_SCHEME, host_of
from .local_certificates import LocalCertificates, NoCertificates, local_certificates

_ADDRESS = "127.0.0.1:7411"
_ANY_PORT = "127.0.0.1:0"
_LOOK_S = 0.01
_COLOURS = {"broker": "cyan", "worker": "green", "dibs": "bold"}
#: Longest line of a child's output that is shown as one line, in bytes.
_MAX_LINE = 1024 * 1024


class ChildEnded(Exception):
    """One of the processes ended by itself.

    Args:
        name: which.
        code: its exit code, negative for a signal.
    """

    def __init__(self, name: str, code: int) -> None:
        how = f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        super().__init__(f"the {name} {how}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        module: that the worker imports.
        listen: where the broker listens; "": the usual address if it is free, else a free port.
        data_dir: of the broker's private Redis.
        redis: a Redis to use instead; "": the private one.
        log_level: of both.
        worker_options: further words for `dibs worker`.
        tls: certificates for both; None: plaintext.
    """

    module: str
    listen: str
    data_dir: Path
    redis: str
    log_level: str
    worker_options: Sequence[str]
    tls: LocalCertificates | None = None


class Dev:
    """Runs the two until it is told to stop or one of them ends.

    Args:
        plan: what to run.
        console: where the lines of both go, each behind the name of its process.
    """

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._stop = asyncio.Event()
        self._children: dict[str, asyncio.subprocess.Process] = {}

    def stop(self) -> None:
        """End both in peace, the worker first; a second call at once."""
        if self._stop.is_set():
            for child in self._children.values():
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
        self._stop.set()

    async def run(self) -> None:
        """Return when both have ended after `stop`. Raises `ChildEnded`, when the other one has ended as well."""
        async with AsyncExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="dibs-dev-"))
            stack.callback(shutil.rmtree, folder)
            command = self._broker_command(folder / "ready")
            broker = await stack.enter_async_context(self._child("broker", command, self._environment()))
            address = await self._address(broker, folder / "ready")
            if address is None:
                return
            target, ca = self._where(address)
            trusting = f" DIBS_CA_FILE={shlex.quote(ca)}" if ca else ""
            self.say("dibs", f"producers connect with DIBS_TARGET={target}{trusting}")
            words = ["worker", self._plan.module, "--target", target, *(("--ca", ca) if ca else ())]
            words += ["--log-level", self._plan.log_level, *self._plan.worker_options]
            worker = await stack.enter_async_context(self._child("worker", words))
            await self._until_one_ends({"broker": broker, "worker": worker})

    def say(self, name: str, line: str) -> None:
        """Print a line of a process."""
        self._console.print(Text(f"{name} │ ", style=_COLOURS[name]) + Text(line), soft_wrap=True)

    def _where(self, address: str) -> tuple[str, str]:
        """The target of clients, and the file of the authority that they trust; "": none."""
        tls = self._plan.tls
        if tls is None or address.startswith("unix:"):
            return address, ""
        return f"{TLS_SCHEME}{address}", str(tls.ca.absolute())

    def _broker_command(self, ready: Path) -> list[str]:
        listen = self._plan.listen or _free_address()
        where = [] if self._plan.redis else ["--data-dir", str(self._plan.data_dir)]
        if self._plan.tls is not None:
            where += ["--tls-cert", str(self._plan.tls.cert), "--tls-key", str(self._plan.tls.key)]
        return ["broker", "--listen", listen, "--ready-file", str(ready), "--log-level", self._plan.log_level, *where]

    def _environment(self) -> dict[str, str] | None:
        """Of the broker. The URL of a Redis goes there: everybody may see the words of a command."""
        if not self._plan.redis:
            return None
        return {**os.environ, "DIBS_REDIS": self._plan.redis, "DIBS_REDIS_FILE": ""}

    @asynccontextmanager
    async def _child(
        self, name: str, words: Sequence[str], environment: dict[str, str] | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run inside the with; at its end it is told to stop and awaited. It ends with this process in any case.

        Args:
            name: that its lines bear.
            words: of its command, behind `dibs`.
            environment: of its own; None: ours.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-m", "dibs.cli.child", str(os.getpid()), *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Not for the terminal's Ctrl-C: the order of their ends matters.
            start_new_session=True,
            limit=_MAX_LINE,
            env=environment,
        )
        self._children[name] = process
        assert process.stdout is not None
        showing = asyncio.create_task(self._show(name, process.stdout), name=f"dibs-dev-{name}")
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await showing

    async def _show(self, name: str, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:
                self.say(name, f"(a line of more than {_MAX_LINE} bytes)")
                continue
            if not line:
                return
            self.say(name, line.decode(errors="replace").rstrip("\n"))

    async def _address(self, broker: asyncio.subprocess.Process, ready: Path) -> str | None:
        """Where the broker listens, as soon as it does; None: told to stop before."""
        while not (address := _first_word(ready)):
            if broker.returncode is not None:
                raise ChildEnded("broker", broker.returncode)
            if self._stop.is_set():
                return None
            await asyncio.sleep(_LOOK_S)
        return address

    async def _until_one_ends(self, children: dict[str, asyncio.subprocess.Process]) -> None:
        """Return when told to stop."""
        tasks = {asyncio.create_task(child.wait()): name for name, child in children.items()}
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((stopping, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task, name in tasks.items():
                if task.done() and not self._stop.is_set():
                    raise ChildEnded(name, task.result())
        finally:
            for task in (stopping, *tasks):
                task.cancel()
            await asyncio.gather(stopping, *tasks, return_exceptions=True)


def _first_word(path: Path) -> str:
    """The broker writes the file in one go; "": it is not there yet."""
    try:
        return path.read_text().split()[0]
    except FileNotFoundError:
        return ""


def _free_address() -> str:
    host, _, port = _ADDRESS.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen(1)
        except OSError:
            return _ANY_PORT
    return _ADDRESS


async def _run(plan: Plan) -> None:
    dev = Dev(plan, Console(highlight=False))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, dev.stop)
    try:
        await dev.run()
    except ChildEnded as error:
        dev.say("dibs", str(error))
        raise typer.Exit(1) from None
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


app = typer.Typer(add_completion=False)


@app.command(name="dev", context_settings={"help_option_names": ["-h", "--help"]})
def dev(
    module: Annotated[str, typer.Argument(help="What the worker imports: package.module or file.py.")],
    threads: Annotated[int, typer.Option(help="How many plain functions the worker runs at once.")] = 4,
    queues: Annotated[str, typer.Option(help="Queues to serve, in this order: a,b. Default: all.")] = "",
    redis: Annotated[
        str, typer.Option(help="URL of a Redis to work on. Default: a private one.", show_default=False)
    ] = "",
    data_dir: Annotated[Path, typer.Option(help="Folder where the private Redis keeps its data between runs.")] = Path(
        ".dibs"
    ),
    listen: Annotated[
        str,
        typer.Option(
            envvar="DIBS_LISTEN",
            help=f"Address of the broker. Default: {_ADDRESS}, or a free port.",
            show_default=False,
        ),
    ] = "",
    tls: Annotated[
        bool,
        typer.Option(
            "--tls", help="Speak TLS, with certificates that are made in the data folder and last for a year."
        ),
    ] = False,
    log_level: Annotated[str, typer.Option(help="Least level to log: debug, info, warning, error.")] = "info",
) -> None:
    """Run a broker and a worker together, to develop tasks with.

    Ctrl-C stops the worker and then the broker; a second one ends both at once. When one of them ends by itself the
    other is stopped, too, and the exit code is 1.
    """
    words = ["--threads", str(threads), *(("--queues", queues) if queues else ())]
    made = _certificates(data_dir, listen) if tls else None
    asyncio.run(_run(Plan(module, listen, data_dir, redis, log_level, words, made)))


def _certificates(data_dir: Path, listen: str) -> LocalCertificates:
    hosts = [host_of(address) for address in listen.split(",") if address and not address.startswith("unix:")]
    try:
        return local_certificates(data_dir / "tls", hosts)
    except NoCertificates as error:
        typer.echo(f"dibs dev: {error}", err=True)
        raise typer.Exit(1) from None


#: The command, for the table of subcommands.
command = typer.main.get_command(app)
