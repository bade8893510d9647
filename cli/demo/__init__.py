"""The demo: a year of real flights through the real thing, and every value recomputed by DuckDB."""
