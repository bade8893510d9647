"""What has been folded in, kept exactly once: shards, commits, the mirror and the archive."""
