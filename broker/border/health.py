"""`grpc.health.v1`: whether this broker can do its work, which is whether its Redis can.

One status stands for the broker as a whole ("") and for each of its services. The servicer of the
`grpcio-health-checking` package keeps a lock while it writes to a watcher, so that one which reads slowly would hold
up the news for all, and never ends a watch, so that one would hold up the shutdown; this one does neither.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ..engine.engine import Engine
from ..engine.errors import EngineError
from .errors import NotFound

_log = logging.getLogger(__name__)

#: Full name of the service, for reflection.
NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
#: Seconds between looks at Redis while all is well, and while it is not.
_LOOK_S = 1.0
_LOOK_AGAIN_S = 0.2

_Request: TypeAlias = health_pb2.HealthCheckRequest
_Response: TypeAlias = health_pb2.HealthCheckResponse
_Context: TypeAlias = grpc.aio.ServicerContext[_Request, _Response]


class Health(health_pb2_grpc.HealthServicer):
    """Answers and watches. NOT_SERVING until told otherwise.

    Args:
        names: the services that there are besides the broker as a whole.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(("", *names))
        self._serving = False
        self._leaving = False
        self._closed = False
        #: Set and replaced at each change.
        self._changed = asyncio.Event()

    @property
    def serving(self) -> bool:
        """What is told now."""
        return self._serving and not self._leaving

    def set(self, serving: bool) -> None:
        """Tells everybody, unless the broker is leaving."""
        if serving is not self._serving:
            self._serving = serving
            self._announce()

    def leave(self) -> None:
        """NOT_SERVING from now on, whatever `set` says."""
        self._leaving = True
        self._announce()

    def close(self) -> None:
        """End the watches, each when its last news has been written."""
        self._closed = True
        self._announce()

    async def Check(self, request: _Request, context: _Context) -> _Response:
        """The status of a service."""
        if request.service not in self._names:
            raise NotFound("service", request.service)
        return _Response(status=self._status(request.service))

    async def List(self, request: Any, context: Any) -> Any:
        """The status of everything; versions of the package that do not know this never call it."""
        statuses = {name: _Response(status=self._status(name)) for name in self._names}
        messages: Any = health_pb2
        return messages.HealthListResponse(statuses=statuses)

    async def Watch(self, request: _Request, context: _Context) -> None:
        """The status of a service now, and again whenever it changes."""
        told = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                await context.write(_Response(status=status))
                told = status
            elif self._closed:
                return
            else:
                await changed.wait()

    def _status(self, service: str) -> Any:
        if service not in self._names:
            return _Response.SERVICE_UNKNOWN
        return _Response.SERVING if self.serving else _Response.NOT_SERVING

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def follow(engine: Engine, health: Health) -> None:
    """Look at Redis about once a second by running a script in it, and tell what it saw, until it is cancelled."""
    while True:
        try:
            await engine.ready()
        except EngineError as error:
            if health.serving:
                _log.error("not serving: %s", error)
            health.set(False)
        else:
            if not health.serving:
                _log.info("serving")
            health.set(True)
        await asyncio.sleep(_LOOK_S if health.serving else _LOOK_AGAIN_S)
