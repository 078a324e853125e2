"""How items get to the broker: one at a time, and many in few requests."""
