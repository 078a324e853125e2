"""Queues of data: putting, receiving, and consuming over a stream."""
