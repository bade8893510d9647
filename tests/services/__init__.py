"""Real services that tests start for themselves: no Docker, free ports, gone when the run ends."""
