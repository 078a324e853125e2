"""A task process: the users' code and the slots that run it; no stream."""
