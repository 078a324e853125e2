"""Between gRPC and the broker: what comes in is read here, errors go out here."""
