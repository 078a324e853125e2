"""What joins dibs with other people's frameworks; each module needs its framework, and nothing else loads it."""
