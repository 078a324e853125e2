"""Brokers whose limits are at one end, and what is done to them."""

from __future__ import annotations

#: Every limit on sizes and numbers at its least. A call of a task with a short argument still fits.
LEAST = (
    *("--max-payload-bytes", "64B", "--max-batch-items", "1", "--max-message-bytes", "64KiB"),
    *("--max-name-length", "16", "--max-id-length", "36", "--max-task-name-length", "5"),
    *("--max-headers", "8", "--max-headers-bytes", "6KiB", "--max-error-bytes", "0", "--max-attempts", "2"),
    *("--max-credit", "1", "--max-queues-per-lease", "1", "--max-wait", "1s", "--max-flush-items", "1"),
)

#: Every limit at its largest.
LARGEST = (
    *("--max-payload-bytes", "512MiB", "--max-batch-items", "1000", "--max-message-bytes", "1GiB"),
    *("--max-name-length", "1024", "--max-id-length", "1024", "--max-task-name-length", "4096"),
    *("--max-headers", "1024", "--max-headers-bytes", "1MiB", "--max-error-bytes", "1MiB"),
    *("--max-attempts", "2147483647", "--max-credit", "1000000", "--max-queues-per-lease", "1000"),
    *("--max-wait", "30d", "--max-flush-items", "100000000", "--max-lease-timeout", "3650d"),
    *("--max-delay", "3660d", "--max-result-ttl", "3650d", "--min-schedule-interval", "1ms"),
)

#: Messages that hold some sixty items of a kibibyte.
SMALL_MESSAGES = ("--max-payload-bytes", "1KiB", "--max-message-bytes", "64KiB")

#: Somewhere between: what ran tasks two and three times before anybody knew these limits.
FEW = ("--max-batch-items", "20", "--max-credit", "100")
