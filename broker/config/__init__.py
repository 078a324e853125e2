"""What a broker is told: settings, limits, options, and how they are written."""
