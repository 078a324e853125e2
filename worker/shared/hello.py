"""What a task process says of itself when its tasks are loaded: what its connector needs, which has no code of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dibs.rpc.connection import Connection
from dibs.rpc.token_file import TokenFile
from dibs.v1 import admin_pb2 as apb

from .frames import HELLO, Frame, frame
from .sorts import Sort

#: Number of the format of all frames: both ends are of one version, unless an upgrade replaced files under a worker.
FORMAT = 3


class UnknownFormat(Exception):
    """The process is of another version than its connector: the program has been changed under a running worker."""


class LaneHello(NamedTuple):
    """What a lane can do.

    Attributes:
        task_names: of the tasks that it runs, at least one.
        slots: how many items it runs at once.
    """

    task_names: Sequence[str]
    slots: int


@dataclass(frozen=True)
class Hello:
    """What a process can do.

    Attributes:
        lanes: for each sort of tasks that it has, what of it it runs.
        connection: where its brokers are.
        group: what its schedules belong to.
        tasks: to be registered.
        schedules: likewise.
    """

    lanes: Mapping[Sort, LaneHello]
    connection: Connection
    group: str
    tasks: Sequence[apb.TaskDefinition]
    schedules: Sequence[apb.Schedule]

    @property
    def task_names(self) -> list[str]:
        """Names of all tasks that it runs."""
        return [name for lane in self.lanes.values() for name in lane.task_names]

    @property
    def queues(self) -> list[str]:
        """Queues that calls of its tasks go to, unless a call names another one."""
        return sorted({task.queue for task in self.tasks})

    def to_frame(self) -> bytes:
        """As a frame: a = bytes of JSON, b = bytes of tasks; then the schedules."""
        words = {
            "format": FORMAT,
            "lanes": [[sort, lane.slots, list(lane.task_names)] for sort, lane in self.lanes.items()],
            "group": self.group,
            "connection": _plain(self.connection),
        }
        text = json.dumps(words).encode()
        tasks = apb.RegisterTasksRequest(tasks=self.tasks).SerializeToString()
        schedules = apb.PutSchedulesRequest(schedules=self.schedules).SerializeToString()
        return frame(HELLO, len(text), len(tasks), body=text + tasks + schedules)

    @classmethod
    def from_frame(cls, got: Frame) -> Hello:
        """The hello that a frame carries.

        Raises:
            UnknownFormat: the process is of another version.
        """
        text, tasks, schedules = got.body[: got.a], got.body[got.a : got.a + got.b], got.body[got.a + got.b :]
        words = json.loads(text)
        if words["format"] != FORMAT:
            raise UnknownFormat(
                f"the task process speaks format {words['format']}, its connector {FORMAT}: restart both"
            )
        return cls(
            lanes={Sort(sort): LaneHello(names, slots) for sort, slots, names in words["lanes"]},
            connection=_connection(words["connection"]),
            group=words["group"],
            tasks=list(apb.RegisterTasksRequest.FromString(tasks).tasks),
            schedules=list(apb.PutSchedulesRequest.FromString(schedules).schedules),
        )


def _plain(connection: Connection) -> dict[str, Any]:
    return {
        "target": connection.target,
        "source": connection.source,
        "namespace": connection.namespace,
        "timeout": connection.timeout,
        "try_timeout": connection.try_timeout,
        "token": connection.token,
        "token_file": None if connection.token_file is None else str(connection.token_file.path),
        "tls": connection.tls,
        "ca": _text(connection.ca),
        "cert": _text(connection.cert),
        "key": _text(connection.key),
        # Options that are no plain values are for channels of the process itself.
        "channel_options": [
            [name, value] for name, value in connection.channel_options if isinstance(value, str | int | float)
        ],
    }


def _connection(words: dict[str, Any]) -> Connection:
    paths = {name: None if words[name] is None else Path(words[name]) for name in ("ca", "cert", "key")}
    token_file = words["token_file"] and TokenFile(Path(words["token_file"]))
    options = tuple((name, value) for name, value in words["channel_options"])
    return Connection(**{**words, **paths, "token_file": token_file, "channel_options": options})


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
