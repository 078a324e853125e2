"""`grpc.reflection.v1alpha`: what the services are, for programs that do not have the contract.

The servicer of the `grpcio-reflection` package, behind the same border as everything else: bytes that are no message,
and questions that are too long, become a status in words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpc_reflection.v1alpha import reflection

from .errors import InvalidField
from .reading import whole
from .translated import translated

#: Full name of the service.
NAME = reflection.SERVICE_NAME
#: Longest question in bytes: the answer repeats it.
_MOST_BYTES = 4096

_Servicer: Any = reflection.aio.ReflectionServicer


async def _read(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if whole(request).ByteSize() > _MOST_BYTES:
            raise InvalidField("", f"must have at most {_MOST_BYTES} bytes")
        yield request


@translated
class Reflection(_Servicer):  # type: ignore[misc]  # as above
    """Answers questions.

    Args:
        names: full names of the services that there are.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)

    async def ServerReflectionInfo(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        """An answer to each question."""
        async for reply in super().ServerReflectionInfo(_read(request_iterator), context):
            yield reply
