"""What a broker takes at most: the numbers of the contract, which are the defaults of a broker's settings.

A broker with other settings announces them: in the first message of a `Work` stream, in `GetServerInfo`, and in the
refusal of what was too much. Clients and workers begin with the numbers of the contract and keep to what they are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

#: Most bytes of entries in one message, however large messages may be: few enough that nothing is held up for long.
MOST_ENTRY_BYTES = 3 * 1024 * 1024

#: Bytes that an item takes of a message beyond its id, record and error text: numbers, times, names of fields.
ITEM_OVERHEAD = 256

#: Bytes that an ack, nack or refresh takes beyond its id and its text.
ENTRY_OVERHEAD = 64

#: How long after the beginning of a `Work` stream its broker's announcement is waited for, in seconds, before anything
#: but the hello is said. A broker that is silent for longer is an old one, and what is known holds.
ANNOUNCED_WITHIN_SECONDS = 0.5

#: Names of tasks in the hello of a `Work` stream.
MAX_TASK_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what one broker takes.

    Attributes:
        max_payload_bytes: largest payload or result of one item.
        max_batch_items: most entries of one request.
        max_message_bytes: largest message in either direction.
        max_name_length: longest name of a namespace or queue, in characters.
        max_id_length: longest id, in characters.
        max_task_name_length: longest name of a task, in characters.
        max_headers: most headers of one item.
        max_headers_bytes: names and values of one item's headers together.
        max_error_bytes: error texts are cut off here.
        max_attempts: most deliveries that an item may ask for.
        max_lease_timeout: longest lease, in seconds.
        max_delay: longest delay, in seconds.
        max_result_ttl: longest time that a result is kept, in seconds.
        max_wait: longest time that a call waits, in seconds.
        max_credit: most credit of one `Work` stream.
        max_queues_per_lease: most queues of one lease or `Work` stream.
        max_schema_bytes: longest schema of a task's arguments.
    """

    max_payload_bytes: int = 256 * 1024
    max_batch_items: int = 1_000
    max_message_bytes: int = 4 * 1024 * 1024
    max_name_length: int = 128
    max_id_length: int = 128
    max_task_name_length: int = 256
    max_headers: int = 32
    max_headers_bytes: int = 8 * 1024
    max_error_bytes: int = 8 * 1024
    max_attempts: int = 1_000_000
    max_lease_timeout: float = 30 * 86_400.0
    max_delay: float = 366 * 86_400.0
    max_result_ttl: float = 30 * 86_400.0
    max_wait: float = 3_600.0
    max_credit: int = 10_000
    max_queues_per_lease: int = 1_000
    max_schema_bytes: int = 32 * 1024

    @property
    def entry_bytes(self) -> int:
        """Bytes of entries that one message may carry."""
        return min(MOST_ENTRY_BYTES, self.max_message_bytes - self.margin_bytes)

    @property
    def margin_bytes(self) -> int:
        """Bytes of a message that are kept for everything but its entries: names, ids and page tokens among them."""
        # A page token may hold the name of a task: up to 4 bytes a character, written in base 64.
        return 4 * 1024 + 6 * max(self.max_task_name_length, self.max_name_length, self.max_id_length)

    @property
    def item_bytes(self) -> int:
        """Bytes that one largest item takes of a message: payload, headers, names, error text and overhead."""
        body = self.max_payload_bytes + self.max_headers_bytes + 16 * self.max_headers + 4 * self.max_task_name_length
        head = 512 + 2 * self.max_name_length
        return self.max_id_length + head + body + self.max_error_bytes + ITEM_OVERHEAD

    @property
    def batch_items(self) -> int:
        """Entries of one request: `max_batch_items`, or as many as a reply without contents has room for."""
        return max(1, min(self.max_batch_items, self.entry_bytes // (self.max_id_length + self.max_name_length + 128)))

    def with_told(self, told: Mapping[str, float]) -> Limits:
        """These with what a broker has told, by name; names that are not known here are those of a later contract."""
        kinds = {field.name: float if field.type == "float" else int for field in fields(self)}
        values: Any = {name: kinds[name](value) for name, value in told.items() if name in kinds}
        return replace(self, **values)

    def with_message(self, message: Any) -> Limits:
        """These with what a `dibs.v1.Limits` says; what it leaves out stays as it is."""
        told: dict[str, float] = {}
        for field in fields(self):
            value = getattr(message, field.name)
            if field.type == "float":
                if message.HasField(field.name):
                    told[field.name] = value.ToMicroseconds() / 1e6
            elif value:
                told[field.name] = value
        return self.with_told(told)


#: The numbers of the contract.
CONTRACT = Limits()
