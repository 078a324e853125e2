"""One file a question. Each has `run(runs, quick, peers)`, which yields figures as they are measured."""
