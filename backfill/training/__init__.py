"""Training sets: the features of a spine's rows, each at its own instant.

* `asked`: which features, labels and streams a set is of
* `spine`: rows of keys and instants, from whatever holds them
* `sources`: the events that count, from archive and log, as live ingest judged them
* `spool`, `buckets`: rows and events by hash of their key, on disk once they are many
* `compute`: the values of one bucket; `assemble`: rows in the spine's order again
* `result`, `manifest`, `statistics`: the set, what it was made from, what is in it
* `build`: the way in
"""
