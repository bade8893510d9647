"""Where events come from: logs that are read by position, and the decoding of what they hold.

`source` is the contract. `local_log` (embedded) and `kafka` keep it for bytes, `archive` for rows
that were decoded once already; `decode` turns payloads into columns and sets bad records apart.
"""
