"""Who writes to a history besides workers and the harness: the threads of producers and consumers."""

from __future__ import annotations

PRODUCER_CLIENT, PRODUCER_STUBS, PRODUCER_WAITER = "producer-client", "producer-stubs", "producer-waiter"
CONSUMER_UNARY, CONSUMER_FOLLOW = "consumer-unary", "consumer-follow"
CONSUMER_CLIENT, CONSUMER_STREAM, CONSUMER_LETTERS = "consumer-client", "consumer-stream", "consumer-letters"
#: Each of them must be seen to work before a fault and after it.
CLIENTS = (
    PRODUCER_CLIENT,
    PRODUCER_STUBS,
    PRODUCER_WAITER,
    CONSUMER_UNARY,
    CONSUMER_FOLLOW,
    CONSUMER_CLIENT,
    CONSUMER_STREAM,
    CONSUMER_LETTERS,
)
