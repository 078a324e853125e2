"""What client, worker and broker have in common on either side of the wire. Depends on nothing of the package."""
