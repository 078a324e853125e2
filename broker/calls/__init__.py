"""Calls that last: streams, long polls, and lists that take more than one question."""
