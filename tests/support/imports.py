"""What imports what, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parents[2]
#: Folders of the distribution and the packages that they are imported as.
FOLDERS = {"clients/python/dibs": "dibs", "broker": "dibs.broker", "worker": "dibs.worker"}


@dataclass(frozen=True)
class Import:
    """One import.

    Attributes:
        importer: module that it stands in.
        target: module that it names, or a name inside of one.
        lazy: it is not carried out when the importer is imported: it stands in a function or is for type checkers.
        line: where.
    """

    importer: str
    target: str
    lazy: bool
    line: int

    def within(self, *packages: str) -> bool:
        """Whether the target is one of the packages or inside of one."""
        return any(self.target == package or self.target.startswith(package + ".") for package in packages)

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def modules() -> dict[str, Path]:
    """Every module of the distribution but the generated ones."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted(_files(folder)):
            parts = path.relative_to(SOURCES / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def _files(folder: str) -> Iterator[Path]:
    # The packages inside of the client's folder are links to other folders.
    pending = [SOURCES / folder]
    while pending:
        for path in pending.pop().iterdir():
            if path.is_dir() and not path.is_symlink() and path.name != "v1":
                pending.append(path)
            elif path.suffix == ".py":
                yield path


def imports_of(module: str, path: Path) -> list[Import]:
    """Every import in a module, relative ones made absolute."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return list(_walk(ast.parse(path.read_text()), module, package, False))


def _walk(node: ast.AST, module: str, package: str, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module, alias.name, lazy, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                above = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join((*above, base) if base else above)
            for alias in child.names:
                yield Import(module, f"{base}.{alias.name}", lazy, child.lineno)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_checkers(child)
            yield from _walk(child, module, package, lazy or later)


def _for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def import_cycle(edges: Mapping[str, set[str]]) -> list[str]:
    """A way from a module back to itself, or nothing."""
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        for target in sorted(edges.get(module, ())):
            if cycle := visit(target):
                return cycle
        done.add(path.pop())
        return []

    for module in sorted(edges):
        if cycle := visit(module):
            return cycle
    return []
