"""Windows, ladders, tiles and aggregates: pure functions, the same for every reader."""
