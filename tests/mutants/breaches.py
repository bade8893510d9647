"""Breaches: Tegula with one promise broken that keeps every event counted exactly once.

Each is one change of the code that a tired programmer could make. The simulation must notice every
one of them; `python -m tests.mutants.breaches` (`make simulate-mutants`) runs it against each, and
says how many seeds that took. One that survives is a gap in the simulation.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tests.mutants.rewriting import rewrite

SEEDS = 60


@dataclass(frozen=True)
class Breach:
    """In a module of `tegula`, what stands there once, and what stands there instead."""

    module: str
    before: str
    after: str

    def apply(self) -> None:
        """Break the promise, in this process."""
        rewrite(self.module, self.before, self.after)


BREACHES: Mapping[str, Breach] = {
    "positions are written before the chunks, not with them": Breach(
        "state.shard",
        "            put(position_key(build, ordinal), position.encode())\n",
        "            self._database.put(position_key(build, ordinal), position.encode())\n",
    ),
    "the outbox forgets before the mirror has taken": Breach(
        "engine.steps.commit",
        "            offers: list[Offer] = [Committed(",
        "            shard.clear_outbox([number])\n            offers: list[Offer] = [Committed(",
    ),
    "rows that a shard has applied are lifted again": Breach(
        "engine.steps.lift",
        "new = offsets >= applied[shards[codes]]",
        "new = offsets >= 0",
    ),
    "a position may go back": Breach(
        "state.rows",
        "further = self if self.next_offset > step.next_offset else step",
        "further = step",
    ),
    "a quiet shard records no position": Breach(
        "engine.steps.commit",
        "                if at[0] in self.shapes\n            }\n            number",
        "                if at[0] in self.shapes and chunks\n            }\n            number",
    ),
    "a source resumes without the running maximum": Breach(
        "engine.steps.standing",
        "        return Place(least.next_offset, least.running_max_us)",
        "        return Place(least.next_offset)",
    ),
    "a stream resumes after the furthest shard": Breach(
        "engine.steps.standing",
        "        least = min(known, key=lambda at: at.next_offset)",
        "        least = max(known, key=lambda at: at.next_offset)",
    ),
    "a stream resumes without regard to the archive": Breach(
        "engine.runtime.streams",
        "            starts.append(archived.get(partition))\n",
        "",
    ),
    "a lane joins one event too early": Breach(
        "engine.steps.lanes",
        "if lane.behind(self.live) == 0]",
        "if lane.behind(self.live) <= 1]",
    ),
    "a lost commit keeps its incarnation": Breach(
        "engine.runtime.home",
        "            if shard.created or lost:\n",
        "            if shard.created:\n",
    ),
    "a build serves before it is whole online": Breach(
        "state.mirror",
        "            while page := self._shard.scan_keys(build, after, PAGE_KEYS):\n",
        "            while page := self._shard.scan_keys(build, after, PAGE_KEYS)[:0]:\n",
    ),
    "the archive appends what it has": Breach(
        "state.archive",
        "            start = place.next_offset if place is not None else 0\n",
        "            start = 0\n",
    ),
    "a table whose making died is taken for one": Breach(
        "state.delta_files",
        "        except TableNotFoundError:\n            return None\n",
        "        except TableNotFoundError:\n            raise\n",
    ),
    "the dead letter appends what it has": Breach(
        "state.dead_letter",
        "        new = [r for r in records if r.partition not in start"
        " or r.offset >= start[r.partition]]\n",
        "        new = list(records)\n",
    ),
    "what is driven again counts in views that had it": Breach(
        "engine.steps.judge",
        "        duplicate = was_good & ~expired\n",
        "        duplicate = was_good & (expired & ~expired)\n",
    ),
    "a copy that was found is not kept": Breach(
        "state.uniqueness",
        "        if len(judged.copies):\n",
        "        if len(judged.copies) < 0:\n",
    ),
    "a verdict by the clock is not kept": Breach(
        "engine.steps.first_reading",
        "                self._keep(ordinal, batch.offsets[new])\n",
        "",
    ),
}
"""What is broken, by name."""

_FAILED = re.compile(r"^FAILED \S+\[(\d+)\]", re.MULTILINE)
_COUNTS = re.compile(r"(\d+) (failed|passed)")


def noticed(name: str, seeds: int, first: int) -> int | None:
    """How many seeds it took until the simulation failed; None if it did not."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, f"--hypothesis-seed={first}", "tests/simulation"],
        env=os.environ
        | {
            "TEGULA_BREACH": name,
            "TEGULA_SIMULATION_SEEDS": str(seeds),
            "CI": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode == 0:
        return None
    assert ran.returncode == 1, f"{name!r}: exit code {ran.returncode}: {ran.stdout}{ran.stderr}"
    assert _FAILED.search(ran.stdout), ran.stdout
    return sum(int(count) for count, _ in _COUNTS.findall(ran.stdout.splitlines()[-1]))


def say(line: str) -> None:
    """Print a line at once: each breach takes a while."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run the simulation against the chosen breaches; 1 if one survives."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="breaches by name; without: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="tried at most for each")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    options = parser.parse_args(arguments)
    survivors = 0
    for name in options.names or BREACHES:
        seeds = noticed(name, options.seeds, options.first)
        survivors += seeds is None
        say(f"{'SURVIVES' if seeds is None else 'noticed '}  {name:<64} {seeds or ''}")
    say(f"{len(options.names or BREACHES)} breaches, {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
