"""One call: connections, channels, retries, operations, and what runs them."""
