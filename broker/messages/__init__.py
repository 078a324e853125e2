"""Between the messages of the wire and the engine's values, a file a subject, both ways."""
