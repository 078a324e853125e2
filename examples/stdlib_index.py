"""Tasks that index Python source files: one task a file. `scripts/demo.sh` runs them on the standard library."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TypedDict

import dibs


class Index(TypedDict):
    """What is found in one file."""

    lines: int
    functions: int
    classes: int
    imports: list[str]


@dibs.task(
    queue="index",
    attempts=3,
    lease=30,
    backoff=dibs.Backoff(initial=0.2, factor=2, jitter=0.2),
    save_results=3600,
    use_dead=True,
)
def index_file(path: str) -> Index:
    """Count what a source file holds. A file that cannot be read or parsed raises, which uses an attempt."""
    source = Path(path).read_bytes()
    functions = classes = 0
    imports: set[str] = set()
    for node in ast.walk(ast.parse(source, filename=path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module.partition(".")[0])
    return Index(lines=source.count(b"\n"), functions=functions, classes=classes, imports=sorted(imports))
