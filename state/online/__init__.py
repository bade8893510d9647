"""Online stores: the latest rows of every key, for servers to read while the engine writes."""
