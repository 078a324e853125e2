"""What dibs is measured against; each peer in an environment of its own (`setup.sh`)."""
