"""The queue engine: Redis and Lua, without a word of gRPC."""
