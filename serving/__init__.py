"""Answers over HTTP: parse, read the online rows, finish the windows, encode."""
