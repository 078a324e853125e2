"""dibs: a task and data queue that programs reach over gRPC."""
