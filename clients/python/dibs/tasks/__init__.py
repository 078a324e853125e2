"""Tasks: what they are, how they are made and called, and what became of their calls."""
