"""The worker runtime: credit, slots and the stream between a worker and its broker."""
