"""The instances that programs hold: `Dibs`, `AsyncDibs`, and what they do to queues and locks."""
