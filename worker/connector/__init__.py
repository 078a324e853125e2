"""The connector: streams, leases, receipts and acks; never the users' code."""
