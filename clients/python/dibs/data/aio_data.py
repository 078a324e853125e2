"""`AsyncData`: the same as `Data`, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

from ..codecs.sealing import Sealing
from ..contract.names import QueueName
from ..enqueueing.gathering import open_batch
from ..rpc.codec import encode_json
from ..rpc.ids import new_ids
from ..rpc.known_limits import KnownLimits
from ..rpc.runner import AsyncRunner
from ..rpc.times import Seconds
from .aio_consumer import AsyncConsumer
from .batch import DataBatch
from .flows import DEFAULT_CHUNKSIZE, DEFAULT_PREFETCH, BaseData, listed


class AsyncData(BaseData):
    """A `Data` for asyncio: the same names, to be awaited. Made by `AsyncDibs.Data`.

    Example::

        queue = adibs.Data("measurements", attempts=5, vis_timeout=30)
        items = await queue.get_data(100, get_timeout=10)
        ...
        await queue.done_data(items)
    """

    def __init__(
        self,
        dibs: AsyncRunner,
        queue: QueueName,
        attempts: int | None = None,
        vis_timeout: Seconds = 0,
        use_dead: bool | QueueName | None = None,
        is_tasks: bool = False,
        is_dead: bool = False,
    ) -> None:
        super().__init__(queue, attempts, vis_timeout, use_dead, is_tasks, is_dead)
        self._dibs = dibs

    @property
    def _namespace(self) -> str:
        return self._dibs.namespace

    @property
    def _sealing(self) -> Sealing | None:
        return self._dibs.sealing

    @property
    def _limits(self) -> KnownLimits:
        return self._dibs.transport.limits

    async def put_data(
        self,
        data: Any,
        use_dead: bool | QueueName | None = None,
        is_one: bool = False,
        chunksize: int = DEFAULT_CHUNKSIZE,
        delay: Seconds = 0,
        *,
        attempts: int | None = None,
    ) -> dict[str, Any]:
        """As `Data.put_data`."""
        form = self._form(use_dead, attempts, delay)
        items = listed(data, is_one)
        payloads = [encode_json(item) for item in items]
        if open_batch(self._dibs) is not None:
            put = self._dibs.put
            return {(await put(form, payload)).id: item for item, payload in zip(items, payloads, strict=True)}
        ids = new_ids(len(items))
        await self._dibs.run(self._put(form, ids, payloads, chunksize))
        return dict(zip(ids, items, strict=True))

    async def get_data(
        self,
        items: int = 1,
        vis_timeout: Seconds | None = None,
        get_timeout: Seconds | None = None,
        *,
        attempts: int | None = None,
    ) -> dict[str, Any]:
        """As `Data.get_data`."""
        return await self._dibs.run(self._get(items, vis_timeout, get_timeout, attempts))

    async def refresh_data(self, items: Iterable[str], vis_timeout: Seconds | None = None) -> list[str]:
        """As `Data.refresh_data`."""
        return await self._dibs.run(self._refresh(items, vis_timeout))

    async def done_data(self, items: Iterable[str]) -> int:
        """As `Data.done_data`."""
        return await self._dibs.run(self._done(items))

    def stream(
        self,
        items: int = 100,
        vis_timeout: Seconds | None = None,
        get_timeout: Seconds | None = None,
        *,
        prefetch: int = DEFAULT_PREFETCH,
    ) -> AsyncGenerator[DataBatch, None]:
        """As `Data.stream`, for an ``async for``.

        Leaving the loop early gives back what is left as soon as the event loop gets to it; inside of
        ``async with contextlib.aclosing(queue.stream(...)) as batches`` it is done when that is left.
        """
        holding, value, wait = self._stream(items, vis_timeout, get_timeout, prefetch)
        return AsyncConsumer(self._dibs.transport, holding, items, value).batches(wait)

    async def currently_available(self) -> tuple[int, int]:
        """As `Data.currently_available`."""
        return await self._dibs.run(self._available())

    async def delete_all(self) -> int:
        """As `Data.delete_all`."""
        return await self._dibs.run(self._delete_all())

    async def redrive(self, ids: Iterable[str] | None = None) -> int:
        """As `Data.redrive`."""
        return await self._dibs.run(self._redrive(ids))
