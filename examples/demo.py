"""The demo: index the standard library's own source files as tasks, on a broker and a worker started for it.

Run it with `scripts/demo.sh`. Everything it starts it ends; its data are in `.dibs/demo` of the checkout.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import dibs
from examples.stdlib_index import Index, index_file

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".dibs" / "demo"
WORKERS = 2

console = Console()


def main() -> None:
    """Run the demo, and serve on if asked."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--serve", action="store_true", help="leave broker and worker running until Ctrl-C")
    serve = options.parse_args().serve
    # Whoever ends the demo ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with ExitStack() as stack:
        target = stack.enter_context(broker())
        console.print(f"broker on [bold]{target}[/bold], its private Redis keeps its data in {FOLDER / 'redis'}")
        stack.enter_context(worker(target))
        dibs.connect(target)
        paths = [*standard_library(), *planted()]
        tasks, took = run(paths)
        report(tasks, took)
        dead_letters(tasks)
        hints(target)
        if serve:
            console.print("\nserving until Ctrl-C")
            told = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: told.set())
            told.wait()


@contextmanager
def child(name: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the demo, its output in a file; ended with the with."""
    with (FOLDER / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dibs", *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Not for the terminal's Ctrl-C: the demo ends its processes itself, in order.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def broker() -> Iterator[str]:
    """A broker with its private Redis; gives its address."""
    ready = FOLDER / "ready"
    options = ["--listen", "127.0.0.1:0", "--data-dir", str(FOLDER / "redis"), "--ready-file", str(ready)]
    with child("broker", "broker", *options) as process:
        while not ready.exists():
            if process.poll() is not None:
                sys.exit((FOLDER / "broker.log").read_text())
            time.sleep(0.01)
        yield ready.read_text().split()[0]


@contextmanager
def worker(target: str) -> Iterator[None]:
    """Worker processes that run the tasks of `examples.stdlib_index`."""
    options = ["--target", target, "--queues", "index", "--processes", str(WORKERS)]
    with child("worker", "worker", "examples.stdlib_index", *options):
        yield


def standard_library() -> list[Path]:
    """The standard library's source files, without what others installed and without its own tests."""
    base = Path(sysconfig.get_path("stdlib"))
    skipped = {"site-packages", "test", "tests", "idlelib", "lib2to3"}
    return sorted(path for path in base.rglob("*.py") if skipped.isdisjoint(path.relative_to(base).parts))


def planted() -> list[Path]:
    """Files that are broken on purpose: one does not parse, one is not text, one is not there."""
    folder = FOLDER / "planted"
    folder.mkdir()
    unfinished = folder / "unfinished.py"
    unfinished.write_text("def unfinished(:\n")
    binary = folder / "binary.py"
    binary.write_bytes(b"\x7fELF\x00\x01\x02")
    return [unfinished, binary, folder / "missing.py"]


def run(paths: Sequence[Path]) -> tuple[dict[Path, dibs.EnqueuedTask[Index]], float]:
    """Enqueue one task a file, and watch until every one is done or dead."""
    started = time.perf_counter()
    with dibs.batch():
        tasks = {path: index_file.execute(str(path)) for path in paths}
    console.print(f"{len(tasks)} tasks enqueued in {(time.perf_counter() - started) * 1000:.0f} ms")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("indexing", total=len(tasks))
        for task in tasks.values():
            # Waits in the broker, not by asking again and again.
            task.wait(120, until="done")
            progress.advance(bar)
    return tasks, time.perf_counter() - started


def report(tasks: dict[Path, dibs.EnqueuedTask[Index]], took: float) -> None:
    """Print what was found, all results in a few calls."""
    results: list[Index | None] = dibs.results([task.taskid for task in tasks.values()])
    found = {path: result for path, result in zip(tasks, results, strict=True) if result is not None}
    table = Table(title="the largest files of the standard library")
    for heading in ("file", "lines", "functions", "classes"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for path, index in sorted(found.items(), key=lambda entry: -entry[1]["lines"])[:5]:
        name = os.path.relpath(path, sysconfig.get_path("stdlib"))
        table.add_row(name, f"{index['lines']:,}", f"{index['functions']:,}", f"{index['classes']:,}")
    table.add_section()
    sums = [sum(index[column] for index in found.values()) for column in ("lines", "functions", "classes")]
    table.add_row(f"all {len(found):,} files", *(f"{total:,}" for total in sums))
    console.print(table)
    imports = Counter(name for index in found.values() for name in index["imports"])
    console.print("most imported: " + ", ".join(f"{name} ({count})" for name, count in imports.most_common(6)))
    console.print(
        f"{len(tasks):,} tasks in {took:.1f} s on {WORKERS} worker processes: "
        f"[bold]{len(tasks) / took:,.0f} tasks/s[/bold], {sums[0] / took:,.0f} lines/s"
    )


def dead_letters(tasks: dict[Path, dibs.EnqueuedTask[Index]]) -> None:
    """Print the tasks that failed in every attempt."""
    dead = dibs.Data(dibs.DEADLETTER_QUEUE, is_tasks=True).get_data(items=10, vis_timeout=-1)
    table = Table(title=f"{len(dead)} dead letters, after 3 attempts each")
    for heading in ("task", "file", "last error"):
        table.add_column(heading)
    names = {task.taskid: path for path, task in tasks.items()}
    for taskid, (_, name, _args, _kwargs, _time, *extra) in dead.items():
        error = next((text for text in reversed(extra) if isinstance(text, str) and text), "")
        table.add_row(name, names[taskid].name, error.strip().splitlines()[-1] if error else "")
    console.print(table)


def hints(target: str) -> None:
    """Print how to look at it from outside."""
    console.print("to look at the queue from any gRPC tool (serve on with `scripts/demo.sh --serve`):")
    request = '{"names": ["index"]}'
    console.print(
        f"  .venv/bin/grpcurl -plaintext -d '{request}' {target} dibs.v1.AdminService/ListQueues",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
