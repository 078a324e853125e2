"""A broker in memory, as far as tests need one: it answers the same messages, and its clock can be moved."""
