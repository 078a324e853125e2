"""What a broker measures of itself, for Prometheus; only where `--metrics` asks for it."""
