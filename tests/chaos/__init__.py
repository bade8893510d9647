"""Chaos: a real broker, real engine processes, and whatever may happen to them.

`python -m tests.chaos --kills 100 --seed 1` (`make chaos KILLS=100 SEED=1`) produces events to two
topics while the engine is killed, its broker is killed, topics grow, definitions change, builds are
made anew, records are driven again, stores are lost, and a second engine tries to have the home.
When all is over the log itself is read back, and every live build is compared with it: values,
statuses, outcomes, archive, dead letter. What happened is drawn from the seed, when it happens is
the machine's chance.
"""
