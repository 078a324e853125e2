"""Names of tasks: no two functions have the same one, and a module may be loaded anew."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dibs.tasks.registry import Registry, default_name

Function = Callable[..., Any]


class Named:
    """Stands for a task."""

    def __init__(self, function: Function, name: str | None = None) -> None:
        self.function = self.target = function
        self.name = name or default_name(function)
        self.aliases = ()
        self.middleware = ()
        self.is_async = False
        self.types = None

    def gives_up_on(self, error: BaseException) -> bool:
        return False


class Registering:
    """What a module's decorator does."""

    def __init__(self) -> None:
        self.registry: Registry[Named] = Registry()

    def __call__(self, function: Function, name: str | None = None) -> Function:
        self.registry.register(Named(function, name))
        return function


@pytest.fixture
def task() -> Registering:
    return Registering()


Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, task: Registering, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Writes a module and imports it, or loads it anew; it finds `task` and a decorator that keeps no names."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr("builtins.task", task, raising=False)
    (tmp_path / "careless.py").write_text("def audited(f):\n    def w(*args):\n        return f(*args)\n    return w\n")

    def load(code: str) -> ModuleType:
        (tmp_path / "loaded_anew.py").write_text(code)
        known = sys.modules.get("loaded_anew")
        importlib.invalidate_caches()
        return importlib.reload(known) if known else importlib.import_module("loaded_anew")

    yield load
    for name in ("loaded_anew", "careless"):
        sys.modules.pop(name, None)


SAME_NAMES = {
    "a decorator without wraps": "from careless import audited\n"
    "@task\n@audited\ndef pay(n): ...\n@task\n@audited\ndef refund(n): ...\n",
    "lambdas": "a = task(lambda: 1)\nb = task(lambda: 2)\n",
    "lambdas that differ in what they hold": "for n in 1, 2: task(lambda n=n: n)\n",
    "a factory": "def make(n):\n    def made(): return n\n    return task(made)\nmake(1)\nmake(2)\n",
    "one after the other": "@task\ndef same(): return 1\n@task\ndef same(): return 2\n",
    "objects": "class Sender:\n    def __call__(self): ...\ntask(Sender())\ntask(Sender())\n",
    "methods": "class A:\n    def f(self): ...\ntask(A().f)\ntask(A().f)\n",
    "with a name of their own": "def make(n):\n    return lambda: n\ntask(make(1), 'x')\ntask(make(2), 'x')\n",
}


@pytest.mark.parametrize("code", SAME_NAMES.values(), ids=SAME_NAMES)
def test_two_functions_that_get_the_same_name_are_refused(load: Load, code: str) -> None:
    with pytest.raises(ValueError, match=r"there is another task .* made of another function: give each a name of its"):
        load(code)


LOADED_ANEW = {
    "a function": "@task\ndef f(): ...\n",
    "a method": "class A:\n    @task\n    def f(self): ...\n",
    "a decorator without wraps": "from careless import audited\n@task\n@audited\ndef pay(n): ...\n",
    "a lambda": "f = task(lambda: 1)\n",
    "a factory": "def make(n):\n    def made(): return n\n    return task(made)\nmake(1)\n",
}


@pytest.mark.parametrize("code", LOADED_ANEW.values(), ids=LOADED_ANEW)
def test_a_module_may_be_loaded_anew_as_it_is_and_edited(load: Load, task: Registering, code: str) -> None:
    load(code)
    load(code)
    load("import dataclasses\n" + code.replace("...", "return 3"))
    module = load(code)
    (name,) = task.registry.names()
    assert task.registry.get(name).function.__globals__ in (
        module.__dict__,
        sys.modules.get("careless", module).__dict__,
    )


def test_one_function_may_be_registered_twice(task: Registering) -> None:
    def f() -> None: ...

    task(f)
    task(f)


def test_what_is_typed_into_an_interpreter_may_be_typed_again(task: Registering) -> None:
    for code in ("def f(): return 1", "def f(): return 2"):
        namespace: dict[str, Any] = {"__name__": "typed"}
        exec(code, namespace)
        task(namespace["f"])
    assert task.registry.get("typed.f").function() == 2
