"""What tasks, handles, queues and locks need of the instance that they belong to, blocking or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from .aio_transport import AioTransport
from .connection import Connection
from .encoding import ItemForm
from .flow import Flow
from .placed import Placed
from .transport import Transport

if TYPE_CHECKING:
    from ..codecs.sealing import Sealing

T = TypeVar("T")


class Runner(ABC):
    """The blocking face; what `Dibs` is to its parts."""

    @property
    @abstractmethod
    def connection(self) -> Connection:
        """Where the broker is and how it is reached."""

    @property
    @abstractmethod
    def namespace(self) -> str:
        """The namespace of everything done here."""

    @property
    @abstractmethod
    def sealing(self) -> Sealing | None:
        """What encodes and decodes payloads and results; None: they are plain."""

    @property
    @abstractmethod
    def transport(self) -> Transport:
        """Runs single calls."""

    @abstractmethod
    def run(self, flow: Flow[T]) -> T:
        """Run a flow over the blocking channel. What a batch has gathered here goes first.

        Raises:
            BrokerError: the broker refused, or the time for retries is used up.
        """

    @abstractmethod
    def put(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """Enqueue an item, or let the batch that is open here do it.

        Raises:
            BrokerError: the broker did not take it.
        """

    @abstractmethod
    def put_now(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """Enqueue an item whether or not a batch is open.

        Raises:
            BrokerError: the broker did not take it.
        """


class AsyncRunner(ABC):
    """The asyncio face; what `AsyncDibs` is to its parts."""

    @property
    @abstractmethod
    def connection(self) -> Connection:
        """Where the broker is and how it is reached."""

    @property
    @abstractmethod
    def namespace(self) -> str:
        """The namespace of everything done here."""

    @property
    @abstractmethod
    def sealing(self) -> Sealing | None:
        """What encodes and decodes payloads and results; None: they are plain."""

    @property
    @abstractmethod
    def transport(self) -> AioTransport:
        """Runs single calls."""

    @abstractmethod
    async def run(self, flow: Flow[T]) -> T:
        """As `Runner.run`."""

    @abstractmethod
    async def run_now(self, flow: Flow[T]) -> T:
        """Run a flow whether or not a batch has gathered anything."""

    @abstractmethod
    async def put(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """As `Runner.put`."""

    @abstractmethod
    async def put_now(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """As `Runner.put_now`."""
