"""What a worker keeps to before a broker has said what it takes: the numbers of the contract."""

from __future__ import annotations

from dibs.contract.limits import CONTRACT, MAX_TASK_NAMES

#: Entries of one message.
MAX_ENTRIES = CONTRACT.max_batch_items
#: Bytes of entries in one message, but for one that is larger alone.
MAX_BYTES = CONTRACT.entry_bytes
#: Credit outstanding at a time, whatever a broker would give: a process has no more positions (`begun.RING`) to spare.
MAX_CREDIT = CONTRACT.max_credit
#: Names of tasks in a hello.
MAX_TASKS = MAX_TASK_NAMES
#: Tokens of leases in a hello.
MAX_TOKENS = 10_000
