"""Run chaos, and say what happened.

python -m tests.chaos [--kills N] [--seed S] [--per-second N]
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.world import Chaos
from tests.services.kafka import Broker, installed_jars


def main(arguments: list[str] | None = None) -> int:
    """Run it; raises what does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="how often the engine is killed")
    parser.add_argument("--seed", type=int, help="what happens; without: any")
    parser.add_argument("--per-second", type=int, default=300, help="events produced")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tegula-chaos-") as folder:
        broker = Broker(Path(folder) / "kafka", installed_jars())
        broker.start()
        chaos = Chaos(Path(folder) / "home", broker, seed, options.per_second)
        try:
            happened = chaos.run(options.kills)
        finally:
            chaos.close()
            broker.stop()
    for name, count in sorted(happened.items()):
        sys.stdout.write(f"{count:>9}  {name.replace('_', ' ')}\n")
    sys.stdout.write(f"0 lost, 0 doubled, in {time.monotonic() - began_s:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
