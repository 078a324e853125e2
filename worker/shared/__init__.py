"""What connector and task process share: frames and memory between them, entries, settings, logs."""
