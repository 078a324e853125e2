"""From Redis to those who wait, and back: lease calls with names, groups of streams, and what goes back."""
