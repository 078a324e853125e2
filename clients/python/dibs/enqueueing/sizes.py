"""What is too large for any message is refused before it is sent, as what is too large for an item is by the broker."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import BrokerError, InvalidArgument
from ..rpc import admin_operations as admin
from ..rpc.flow import Flow, do
from ..rpc.known_limits import KnownLimits

#: Below this no broker has trouble with the message itself. In bytes.
UNREMARKABLE = 60 * 1024


def check_sizes(entries: Iterable[bytes], limits: KnownLimits) -> Flow[None]:
    """Refuse an item that is larger than any that the broker takes, with its headers and all.

    What is between the largest payload and that the broker refuses itself. Where what is known may be no more than the
    numbers of the contract, the broker is asked first.

    Args:
        entries: items as they stand in a request.
        limits: what is known of the broker.

    Raises:
        InvalidArgument: one is too large.
    """
    sizes = [len(entry) for entry in entries]
    largest = max(sizes, default=0)
    if largest <= limits.now.item_bytes:
        return
    try:
        yield from do(admin.server_info(limits))
    except BrokerError:
        return  # the broker will say what it thinks of them
    if largest > limits.now.item_bytes:
        field, most = f"items[{sizes.index(largest)}].content.payload", limits.now.max_payload_bytes
        raise InvalidArgument(
            f"{field}: has about {largest} bytes, must have at most {most} (max_payload_bytes of the broker)",
            reason="INVALID_FIELD",
            metadata={"limit": "max_payload_bytes", "value": str(most)},
            field=field,
        )
