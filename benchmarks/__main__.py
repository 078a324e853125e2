"""Runs scenarios, prints a table, and writes benchmarks/results/<time>.json."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated

import redis
import typer
from rich.console import Console
from rich.table import Table

from .measure import Figure
from .stack import FOLDER, running_redis

SCENARIOS = ("processing", "enqueueing", "latency", "data", "idle", "backlog", "fairness", "secured")


def main(
    scenarios: Annotated[
        list[str] | None, typer.Argument(help=f"Any of: {', '.join(SCENARIOS)}. Default: all.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often to measure each.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer items.")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Also rpqueue and taskiq, installed under .cache/.")] = False,
) -> None:
    """Measure dibs: every run checks that each item came out exactly once."""
    console = Console()
    if peers:
        subprocess.run([str(FOLDER / "peers" / "setup.sh")], check=True)
    with running_redis() as server:
        where = {
            "redis": f"{server.version}, no persistence",
            "python": platform.python_version(),
            "grpcio": version("grpcio"),
            "protobuf": version("protobuf"),
            "redis-py": redis.__version__,
            "cores": str(os.cpu_count()),
        }
    console.print(", ".join(f"{name} {value}" for name, value in where.items()))
    figures: list[Figure] = []
    for scenario in scenarios or SCENARIOS:
        for figure in importlib.import_module(f".scenarios.{scenario}", __package__).run(runs, quick, peers):
            figures.append(figure)
            console.print(f"[dim]{figure.name}: {figure.median:,.6g} {figure.unit}[/dim]")
    console.print(_table(figures, runs))
    results = FOLDER / "results"
    results.mkdir(exist_ok=True)
    path = results / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"where": where, "figures": [asdict(figure) for figure in figures]}, indent=1))
    console.print(f"written to {path}")


def _table(figures: list[Figure], runs: int) -> Table:
    medians = {figure.name: figure.median for figure in figures}
    table = Table(title=f"median of {runs} runs")
    for heading in ("what", "median", "lowest", "highest", "ratio", "note"):
        table.add_column(heading, justify="left" if heading in ("what", "note") else "right")
    for figure in figures:
        ratio = f"{figure.median / medians[figure.against]:.2f} × {figure.against}" if figure.against in medians else ""
        low, high = min(figure.values), max(figure.values)
        table.add_row(
            f"{figure.name} ({figure.unit})", f"{figure.median:,.4g}", f"{low:,.4g}", f"{high:,.4g}", ratio, figure.note
        )
    return table


if __name__ == "__main__":
    typer.run(main)
