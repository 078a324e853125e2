"""Running the queues from a program: `Admin`, `AsyncAdmin`, and what the command shares with them."""
