"""The metrics of a broker: what counts, and the page that shows it."""

from __future__ import annotations

from collections.abc import Callable

from dibs.contract.metrics_page import MetricsPage, new_registry

from ..engine.engine import Engine
from .depths import DepthCollector, Standing
from .meters import Meters


class Metrics:
    """Everything that `--metrics` asks for.

    Args:
        host: to serve them at.
        port: 0 takes a free one.
        most_names: names of queues, and of tasks, that are told apart.

    Attributes:
        meters: to be told of what happens.

    Raises:
        NoMetrics: what puts them together is not installed.
    """

    def __init__(self, host: str, port: int, most_names: int) -> None:
        self._registry = new_registry()
        self._most_names = most_names
        self._page = MetricsPage(self._registry, host, port)
        self.meters = Meters(self._registry, most_names)

    def start(self, engine: Engine, standing: Callable[[], Standing]) -> str:
        """Begin to serve, and answer the address. To be called on the loop of the engine.

        Raises:
            NoMetrics: the address is taken, or not one of this machine.
        """
        engine.time_scripts(self.meters.script)
        engine.on_settled = self.meters.settled
        self._registry.register(DepthCollector(engine, self._most_names, standing))
        return self._page.start()

    def close(self) -> None:
        """Stop serving."""
        self._page.close()
