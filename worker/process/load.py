"""From what the command line names to the instance whose tasks are to be run."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import dibs
from dibs.admin.registration import described
from dibs.codecs.sealing import Sealing
from dibs.errors import DibsError
from dibs.rpc.connection import Connection
from dibs.tasks.definition import Definition
from dibs.tasks.middleware import Layers

from ..shared.hello import Hello, LaneHello
from ..shared.limits import MAX_TASKS
from ..shared.settings import WorkerSettings
from ..shared.sorts import Sort
from .item import Runnable, by_sort

#: Lines of a traceback that are shown of a module that cannot be imported.
_TRACEBACK_LINES = 8


class LoadError(Exception):
    """What was named cannot be used; the text says why, in a sentence, and what to do."""


class Defined(Protocol):
    """What registering needs of a task."""

    @property
    def definition(self) -> Definition:
        """What it is."""


class Tasks(Protocol):
    """What the worker needs of a registry."""

    #: Middleware around all of its tasks.
    layers: Layers

    def runnable(self, name: str) -> Runnable | None:
        """The task of that name with its middleware, or None."""

    def names(self) -> list[str]:
        """The names of all tasks."""

    def tasks(self) -> Sequence[Defined]:
        """All tasks."""


class Instance(Protocol):
    """What the worker needs of a `Dibs`."""

    @property
    def connection(self) -> Connection:
        """Where its broker is."""

    @property
    def sealing(self) -> Sealing | None:
        """What decodes arguments and encodes results; None: they are plain."""

    @property
    def registry(self) -> Tasks:
        """Its tasks."""


def load(source: str) -> Instance:
    """Import what defines tasks.

    Args:
        source: ``package.module`` or the path of a ``.py`` file, for the tasks of the default instance;
            with ``:name`` behind it, for those of that instance.

    Raises:
        LoadError: there is no such module, it raises, there is no such instance or no task in it, or what says where
            the instance connects makes no sense.
    """
    name, _, attribute = source.partition(":")
    module = import_module(module_name(name))
    if attribute:
        found: Instance | None = getattr(module, attribute, None)
        if found is None or not _is_instance(found):
            raise LoadError(f"{name} has no Dibs instance named {attribute!r}{_hint(name, module)}")
    else:
        found = dibs.default()
    if not found.registry.names():
        if attribute:
            raise LoadError(f"no task is registered with {source}: is the module imported that defines them?")
        raise LoadError(f"importing {name} registered no task with the default instance{_hint(name, module)}")
    try:
        _ = found.connection
    except ValueError as error:
        raise LoadError(str(error)) from error
    return found


def tasks_of(registry: Tasks) -> Mapping[str, Runnable]:
    """The tasks of a registry, by name.

    Raises:
        ValueError: there is none, or there are too many.
    """
    return found_tasks(registry.runnable, registry.names())


def found_tasks(find: Callable[[str], Runnable | None], names: Iterable[str]) -> Mapping[str, Runnable]:
    """The tasks of these names that are found.

    Raises:
        ValueError: there is none, or there are too many; or an annotation of one names what cannot be written.
    """
    tasks = {name: task for name in names if (task := find(name)) is not None}
    for task in tasks.values():
        if task.types is not None:
            try:
                task.types.settle()
            except (TypeError, DibsError) as error:
                raise ValueError(str(error)) from error
    if not 1 <= len(tasks) <= MAX_TASKS:
        raise ValueError(f"a worker runs 1 to {MAX_TASKS:,} tasks, not {len(tasks):,}")
    return tasks


def lanes_of(tasks: Mapping[str, Runnable], settings: WorkerSettings) -> dict[Sort, LaneHello]:
    """What the lanes of a process with these tasks can do."""
    return {sort: LaneHello(list(some), settings.slots(sort)) for sort, some in by_sort(tasks).items() if some}


def hello_of(instance: Instance, group: str, lanes: Mapping[Sort, LaneHello]) -> Hello:
    """What a connector needs to know of an instance.

    Args:
        instance: whose tasks.
        group: what their schedules belong to.
        lanes: what each lane can do.
    """
    tasks, schedules = described(task.definition for task in instance.registry.tasks())
    return Hello(lanes, instance.connection, group, tasks, schedules)


def group_of(source: str) -> str:
    """What the schedules belong to that `load` of this loads: the module, however it was named."""
    name, colon, attribute = source.partition(":")
    return module_name(name) + colon + attribute


def module_name(source: str) -> str:
    """The dotted name of a module that is named like that, or by the path of its file; makes it importable.

    Raises:
        LoadError: there is no such file.
    """
    if not source.endswith(".py"):
        _make_importable(Path.cwd())
        return source
    path = Path(source).resolve()
    if not path.is_file():
        raise LoadError(f"there is no file {source}")
    # As tasks name themselves after the module that a script is; see registry.default_name.
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").exists():
        parts.append(folder.name)
        folder = folder.parent
    _make_importable(folder)
    return ".".join(reversed(parts))


def import_module(name: str) -> object:
    """Import a module.

    Raises:
        LoadError: it cannot be imported; the text has the last lines of the traceback.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise LoadError(f"there is no module named {error.name!r} here or on sys.path") from error
        raise LoadError(_import_failed(name, error)) from error
    except Exception as error:
        raise LoadError(_import_failed(name, error)) from error


def _import_failed(name: str, error: Exception) -> str:
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()[-_TRACEBACK_LINES:]
    return "\n".join([f"importing {name} failed:", *(f"    {line}" for line in lines)])


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _is_instance(thing: object) -> bool:
    return isinstance(getattr(thing, "connection", None), Connection) and hasattr(thing, "registry")


def _hint(name: str, module: object) -> str:
    """How to name an instance of the module, if it has any."""
    names = [f"{name}:{attribute}" for attribute, value in vars(module).items() if _is_instance(value)]
    return f"; did you mean {' or '.join(names)}?" if names else ""
