"""The vocabulary every other layer speaks: definitions, types, time, outcomes and errors.

Plain frozen data and pure functions. Nothing here reads a clock, a file or a socket, and nothing
here imports another layer.
"""
