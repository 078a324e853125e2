"""What a worker keeps to on the wire: the contract's numbers, in one place."""

from __future__ import annotations

#: Entries of one message.
MAX_ENTRIES = 1_000
#: Bytes of results and error texts in one message; brokers take messages of 4 MiB.
MAX_BYTES = 3 * 1024 * 1024
#: Credit outstanding at a time.
MAX_CREDIT = 10_000
#: Names of tasks in a hello.
MAX_TASKS = 10_000
#: Tokens of leases in a hello.
MAX_TOKENS = 10_000
