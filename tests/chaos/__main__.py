"""Run chaos, and say what happened.

python -m tests.chaos [--kills N] [--seed S] [--per-second N] [--first NAME ...]
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.run import run
from tests.chaos.world import World
from tests.services.kafka import Broker, free_ports, installed_jars
from tests.services.redis import Server

DISK_BYTES = 1 << 30
_APART = "TEGULA_CHAOS_APART"


def main(arguments: list[str] | None = None) -> int:
    """Run it; raises what does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="how often the engine is killed")
    parser.add_argument("--seed", type=int, help="what happens; without: any")
    parser.add_argument("--per-second", type=int, default=300, help="events produced")
    parser.add_argument("--first", nargs="*", default=[], help="what is to happen first, by name")
    options = parser.parse_args(arguments)
    apart = os.environ.get(_APART) == "1"
    if not apart:
        _go_apart()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    _tell(f"seed {seed}")
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tegula-chaos-") as name:
        folder = Path(name)
        if apart:
            _mount(folder / "project" / ".tegula")
        has_redis = shutil.which("redis-server") is not None
        redis = Server(folder / "redis", free_ports(1)[0]) if has_redis else None
        broker = Broker(folder / "kafka", installed_jars())
        broker.start()
        world = World(folder / "project", broker, seed, options.per_second, redis)
        try:
            world.start()
            happened = run(world, options.kills, options.first, _teller(began_s))
        finally:
            world.close()
            broker.stop()
            if apart:
                subprocess.run(["umount", "--lazy", str(world.settings.home)], check=True)
    for what, count in sorted(happened.items()):
        _tell(f"{count:>9}  {what}")
    _tell(f"0 lost, 0 doubled, in {time.monotonic() - began_s:.0f} s")
    return 0


def _go_apart() -> None:
    """Become a process that has its mounts for itself: they go with it, however it ends.

    Does nothing where that is not allowed.
    """
    rights: Sequence[str] = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *rights, "--mount", "--propagation", "private"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False).returncode
    ):
        return
    sys.stdout.flush()
    words = [*command, sys.executable, "-m", "tests.chaos", *sys.argv[1:]]
    os.execvpe(words[0], words, {**os.environ, _APART: "1"})


def _mount(home: Path) -> None:
    """A small file system of its own for the home."""
    home.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(home)], check=True
    )


def _teller(began_s: float):  # type: ignore[no-untyped-def]
    return lambda line: _tell(f"{time.monotonic() - began_s:7.1f} s  {line}")


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
