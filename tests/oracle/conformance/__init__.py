"""Cases that other engines published, run through ours: one module a kind of case file.

A kind translates each case into *experiments*: our own definitions, the events in the order of
their arrival, and *probes*, which say what is to be read when, and what is expected. `paths` runs
an experiment through the stream, the replay and the serving path; `judge` compares.

What a case asks for and our windows or aggregates cannot say is raised as `Needs`, by name: it is
reported as a finding, never as a pass.
"""
