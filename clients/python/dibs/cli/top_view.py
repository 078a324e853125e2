"""How `dibs top` looks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..v1.admin_pb2 import QueueInfo
from ..v1.types_pb2 import QUEUE_KIND_DATA
from . import words, worker_conditions
from .queues import key, oldest
from .sparkline import sparkline
from .tables import cell
from .top_history import History, Look
from .waiting_tasks import unknown_tasks

#: Lines that are no queues.
_FRAME_LINES = 14
_CURVE_WIDTH = 60
_SMALL_CURVE_WIDTH = 20


def screen(history: History, target: str, namespace: str, *, width: int, height: int) -> RenderableType:
    """Everything, for a terminal of this size."""
    parts: list[RenderableType] = [_head(history, target, namespace)]
    if history.error:
        parts.append(Panel(cell(history.error, "bold red"), box=box.HEAVY, border_style="red"))
    if history.last is not None:
        parts += [
            _curves(history, width),
            _queues(
                history, history.last, width, max(height - _FRAME_LINES - len(unknown_tasks(history.last.queues)), 3)
            ),
        ]
    elif not history.error:
        parts.append(Text("looking …", style="dim"))
    return Group(*parts)


def _head(history: History, target: str, namespace: str) -> RenderableType:
    title = Text.assemble(("dibs ", "bold"), (words.plain(target), "bold cyan"), "  ", (words.plain(namespace), "bold"))
    if history.last is None:
        return Group(Rule(title, align="left", style="dim"))
    info, workers = history.last.info, history.last.workers
    now = info.redis_time.ToDatetime(UTC) if info.redis_ready else datetime.now(UTC)
    memory = words.size(info.redis_memory_bytes)
    if info.redis_max_memory_bytes:
        memory += f" of {words.size(info.redis_max_memory_bytes)}"
    facts = [
        ("broker", f"{info.version} {info.broker_id}"),
        ("up", words.age(words.since(info.start_time, now))),
        ("on", info.redis_version if info.redis_ready else "a Redis that is away"),
        ("memory", memory),
        ("workers", f"{worker_conditions.count(workers)}"),
    ]
    line = Text()
    for name, value in facts:
        line.append(f"{name} ", style="dim")
        line.append(words.plain(value) + "   ")
    return Group(Rule(title, align="left", style="dim"), line, "")


def _curves(history: History, width: int) -> RenderableType:
    last = history.last
    assert last is not None
    redis = words.seconds_of(last.info.redis_latency)
    made = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "left", "left"):
        made.add_column(justify=justify, no_wrap=True)
    space = max(min(_CURVE_WIDTH, width - 56), 10)
    rows: list[tuple[str, str, Iterable[float], str, str]] = [
        ("in", _rate(history.put), history.put, "cyan", "items a second"),
        ("out", _rate(history.done), history.done, "green", "items a second"),
        ("ready", words.count(sum(queue.ready for queue in last.queues)), history.depth, "blue", _depths(last)),
        ("latency", _milliseconds(last.latency), history.latency, "yellow", f"of it Redis {_milliseconds(redis)}"),
    ]
    for name, number, curve, style, remark in rows:
        bars = Text(sparkline(list(curve), space), style=style)
        made.add_row(Text(name, style="bold"), Text(number, style=f"bold {style}"), bars, Text(remark, style="dim"))
    return made


def _depths(last: Look) -> str:
    delayed, leased, dead = (
        sum(getattr(queue, name) for queue in last.queues) for name in ("delayed", "leased", "dead")
    )
    return f"{delayed:,} delayed  {leased:,} leased  {dead:,} dead"


def _rate(curve: Iterable[float]) -> str:
    found = list(curve)
    return words.rate(found[-1] if found else None)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _queues(history: History, last: Look, width: int, room: int) -> RenderableType:
    shown = history.busiest(room)
    now = last.info.redis_time.ToDatetime(UTC) if last.info.redis_ready else datetime.now(UTC)
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, expand=True)
    made.add_column("queue", no_wrap=True, overflow="ellipsis", ratio=1)
    curves = width >= 110
    numbers = ("ready", "delayed", "leased", "dead", "in", "out")
    for name in (*numbers, "oldest", "prio"):
        made.add_column(name, justify="right", no_wrap=True)
    if curves:
        made.add_column("out, last minute", no_wrap=True)
    for queue in shown:
        made.add_row(*_row(history, queue, now, curves=curves))
    hidden = len(last.queues) - len(shown)
    notes = [Text(sentence, style="yellow") for sentence in unknown_tasks(last.queues)]
    if hidden:
        notes.append(Text(f"{hidden:,} quieter queues are not shown", style="dim"))
    return Group(made, *notes)


def _row(history: History, queue: QueueInfo, now: datetime, *, curves: bool) -> list[RenderableType]:
    at = history.moving.get(key(queue))
    # Behind a long name it would be cut off.
    name = Text("‖ paused " if queue.paused else "", style="yellow").append_text(cell(queue.name, "default"))
    if queue.kind == QUEUE_KIND_DATA:
        name.append("  data", style="dim")
    row: list[RenderableType] = [
        name,
        _number(queue.ready, "blue"),
        _number(queue.delayed, ""),
        _number(queue.leased, "magenta"),
        _number(queue.dead, "bold red"),
        Text(words.rate(at.put if at else None), style="cyan" if at and at.put else "dim"),
        Text(words.rate(at.done if at else None), style="green" if at and at.done else "dim"),
        oldest(queue, now),
        words.priority(queue.priority if queue.HasField("priority") else None),
    ]
    if curves:
        curve = list(history.done_of.get(key(queue), ()))
        row.append(Text(sparkline(curve, _SMALL_CURVE_WIDTH), style="green"))
    return row


def _number(number: int, style: str) -> Text:
    return Text(words.count(number), style=style if number else "dim")
