"""Tasks by name: one that comes over the wire finds its task here or nowhere; nothing is imported by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ..errors import UnknownTask
from . import hints
from .middleware import Layers, Middleware, TaskWithin, around_runs
from .same_function import is_same, loading_of
from .types import TaskTypes

MAX_NAME_LENGTH = 256
_MAIN_MODULES = ("__main__", "__mp_main__")


class Named(Protocol):
    """What a registry holds: anything with a name and a function, that is a task."""

    @property
    def name(self) -> str:
        """The name that it is known by."""

    @property
    def aliases(self) -> Sequence[str]:
        """Further names that it is known by."""

    @property
    def function(self) -> Callable[..., Any]:
        """What a worker calls."""

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""

    @property
    def middleware(self) -> Sequence[Middleware]:
        """Around this task alone."""

    @property
    def types(self) -> TaskTypes | None:
        """Converts its arguments and what it returns."""

    def gives_up_on(self, error: BaseException) -> bool:
        """Whether a call that raised this is not tried again, whatever attempts are left."""

    @property
    def target(self) -> Callable[..., Any]:
        """The function that it is made of."""


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """The tasks of one `Dibs` instance, by name.

    Attributes:
        layers: middleware around all of them.
    """

    def __init__(self) -> None:
        self.layers = Layers()
        self._tasks: dict[str, T] = {}
        #: Tasks by their further names.
        self._aliases: dict[str, T] = {}
        #: Of each task's module, when the task was registered; tells a reload from another function of that name.
        self._loadings: dict[str, object] = {}

    def register(self, task: T) -> T:
        """Make `task` known under its name. The same function defined anew (a reload) takes its old place.

        Raises:
            ValueError: another function has that name already, as functions of one factory, lambdas, and what a
                decorator without `functools.wraps` makes have; an alias is another task's name; or a name is empty,
                longer than 256 characters or not printable.
        """
        name = task.name
        _check_name(name)
        known = self._tasks.get(name)
        if known is not None:
            generated = default_name(known.target)
            if generated != default_name(task.target):
                raise ValueError(f"there is another task {name!r}: {generated}")
            if not is_same(known.target, self._loadings[name], task.target, generated):
                raise ValueError(
                    f"there is another task {name!r} that is made of another function: give each a name of its own "
                    "with name=, or use functools.wraps in the decorator that made them"
                )
        self._check_aliases(task)
        for alias in known.aliases if known is not None else ():
            del self._aliases[alias]
        self._aliases.update(dict.fromkeys(task.aliases, task))
        self._tasks[name] = task
        self._loadings[name] = loading_of(task.target)
        return task

    def _check_aliases(self, task: T) -> None:
        """Refuse names that are another task's."""
        other = self._aliases.get(task.name)
        if other is not None:
            raise ValueError(f"{task.name!r} is an alias of the task {other.name!r}")
        for alias in task.aliases:
            _check_name(alias)
            other = self._tasks.get(alias) or self._aliases.get(alias)
            if other is not None and other.name != task.name:
                raise ValueError(f"the alias {alias!r} of {task.name!r} is a name of the task {other.name!r}")
            if alias == task.name:
                raise ValueError(f"the alias {alias!r} of a task is its name: leave it out")

    def get(self, name: str) -> T:
        """The task of that name.

        Raises:
            UnknownTask: no task of that name is registered; also a KeyError and a ValueError.
        """
        task = self.find(name)
        if task is None:
            raise UnknownTask(name, hints.for_names(name, self.names()))
        return task

    def find(self, name: str) -> T | None:
        """The task of that name or alias, or None."""
        return self._tasks.get(name) or self._aliases.get(name)

    def runnable(self, name: str) -> T | TaskWithin | None:
        """The task of that name or alias as a worker runs it, with its middleware; None: there is none."""
        task = self.find(name)
        layers = () if task is None else around_runs((*self.layers.all, *task.middleware))
        return TaskWithin(task, layers) if task is not None and layers else task

    def tasks(self) -> list[T]:
        """All tasks, sorted by name."""
        return [self._tasks[name] for name in sorted(self._tasks)]

    def names(self) -> list[str]:
        """The names of all tasks and their aliases, sorted."""
        return sorted({*self._tasks, *self._aliases})

    def __contains__(self, name: object) -> bool:
        """Whether a task of that name or alias is registered."""
        return name in self._tasks or name in self._aliases

    def __len__(self) -> int:
        """How many tasks are registered."""
        return len(self._tasks)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError(f"the name of a task has 1-{MAX_NAME_LENGTH} printable characters, not {name!r}")


def default_name(function: Callable[..., Any]) -> str:
    """The name that a task gets from its function: module and qualified name, with a dot between them.

    A function of a script that runs as ``__main__`` gets the name of the module that the script is when it is
    imported, so that a producer run as a script and a worker that imports it agree.
    """
    module = getattr(function, "__module__", None) or ""
    if module in _MAIN_MODULES:
        module = _main_module_name(module)
    qualname = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{module}.{qualname}" if module else qualname


def main_module() -> str:
    """The name that the program's own file has when it is imported as a module."""
    return _main_module_name("__main__")


def _main_module_name(name: str) -> str:
    main = sys.modules.get(name)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in _MAIN_MODULES:  # python -m package.module
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if not file:  # an interactive interpreter: there is nothing to import
        return "__main__"
    path = Path(file).resolve()
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").exists():
        parts.append(folder.name)
        folder = folder.parent
    return ".".join(reversed(parts))
