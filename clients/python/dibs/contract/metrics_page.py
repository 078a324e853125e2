"""Metrics over HTTP, in the texts of Prometheus and OpenMetrics; what broker and worker have in common there."""

from __future__ import annotations

import logging
import re
import socket
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]*):)?(\d{1,5})")
#: Where a page is served unless its address has a host.
_LOOPBACK = "127.0.0.1"
#: Seconds that who asks may take for a request, and for reading the reply.
_PATIENCE_S = 10
#: Who asks at a time; further connections are closed at once.
_MOST_AT_A_TIME = 32
#: Stands for all names beyond those that are told apart.
OTHER = "other"


class NoMetrics(Exception):
    """There can be no page; the text says why."""


def metrics_address(text: str) -> tuple[str, int]:
    """Host and port of a page: `host:port`, or a port alone for this machine only.

    Raises:
        ValueError: it is no address; the text says what it must be.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"{text!r} must be a port, host:port or [v6 address]:port")
    return (match[1] or _LOOPBACK).strip("[]"), int(match[2])


def new_registry() -> CollectorRegistry:
    """Where metrics are put together.

    Raises:
        NoMetrics: the package that does it is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, disable_created_metrics
    except ImportError:
        raise NoMetrics("metrics need the package prometheus-client: pip install 'dibs[metrics]'") from None
    # When each series began would double the page, and nobody looks at it.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()


class Names:
    """Names that may be values of a label: clients can make up any number of them, and each is a series for ever.

    Args:
        most: names that are told apart; those that come later count together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        """The name, or `OTHER` when there are too many."""
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name


class MetricsPage:
    """Serves what a registry has; every path is that page.

    Args:
        registry: is asked anew each time, in a thread of whoever asks.
        host: to listen on.
        port: 0 takes a free one.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self._registry = registry
        self._host = host
        self._port = port
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Begin to serve, and answer the address.

        Raises:
            NoMetrics: the address is taken, or not one of this machine.
        """
        from prometheus_client import make_wsgi_app

        kind = _ServerV6 if ":" in self._host else _Server
        app: Any = make_wsgi_app(self._registry)
        try:
            self._server = make_server(self._host, self._port, app, kind, _Handler)
        except OSError as error:
            raise NoMetrics(f"metrics cannot be served at {self._host}:{self._port}: {error.strerror}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="dibs-metrics", daemon=True)
        self._thread.start()
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{shown}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each that asks, and not more of them than there should be."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._room = threading.BoundedSemaphore(_MOST_AT_A_TIME)
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Take the address, without asking anybody for the machine's name as the base class does."""
        super(WSGIServer, self).server_bind()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread, if there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve it here."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write a line: who asked has gone away, most often."""
        _log.debug("metrics could not be told to %s", client_address, exc_info=True)


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing for each request."""
