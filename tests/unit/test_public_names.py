"""The names of the package: type checkers and programs find the same ones."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import dibs

INIT = Path(dibs.__file__)


def for_type_checkers() -> dict[str, str]:
    """Names that type checkers find, with the modules that they take them from."""
    tree = ast.parse(INIT.read_text())
    [block] = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name} is not exported: write {alias.name} as {alias.name}"
            found[alias.name] = str(node.module)
    return found


def test_type_checkers_find_the_names_that_programs_find() -> None:
    assert for_type_checkers().keys() == set(dibs.__all__)


def test_they_find_the_same_things() -> None:
    for name, module in for_type_checkers().items():
        assert getattr(importlib.import_module(f"dibs.{module}"), name) is getattr(dibs, name), name


def test_names_are_listed_in_order() -> None:
    assert list(dibs.__all__) == sorted(set(dibs.__all__))
