"""An explicit-state model of how items get from Redis to a task and back.

It looks at every interleaving of: lease calls (asked, repeated, lost, carried out late), their answers (lost, late),
batches and receipts on streams, broken streams that either side sees first, acks, failures, crashes of brokers, of
worker processes (with and without their supervisor) and of whole machines, items that a broker gives back, and leases
that run out at any moment. A frozen process is one whose steps come late, and every step may come arbitrarily late.
Redis's scripts are single steps. Lengths of time, tokens that a worker names anew on its next stream, and parked tasks
are not in it.

``python -m tests.model`` checks the protocol, then takes one part out at a time and shows what breaks without it.
"""
