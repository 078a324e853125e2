"""The broker: gRPC outward, the engine inward."""
