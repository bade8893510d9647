"""Backfills: what building a view from history would read, and which build serves it then."""
