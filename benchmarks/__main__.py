"""Run the benchmarks: all of them, bounded to a few minutes, or some by name.

    python -m benchmarks                    every benchmark, each in a process of its own
    python -m benchmarks ingest memory      these, as they are run among all
    python -m benchmarks ingest --keys uniform --events 5000000

Flags go to the one benchmark that is named before them. After several benchmarks
stands one table of all figures. Fails if a benchmark did, and with `--strict` also if a figure is
below its floor.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import Figure, read, show

HERE = Path(__file__).parent
TIMEOUT_S = 300.0
NOT_BENCHMARKS = {"load"}  # a program, too, but started by others

Arguments = tuple[str, ...]

AMONG_ALL: Mapping[str, Sequence[Arguments]] = {
    "archive": [("--rows", "2000000")],
    "freshness": [("--seconds", "15"), ("--seconds", "15", "--push", "kafka")],
    "ingest": [
        ("--keys", "zipf", "--rounds", "3"),
        ("--keys", "uniform", "--rounds", "3"),
        ("--keys", "zipf", "--rounds", "3", "--state-only"),
        ("--keys", "uniform", "--rounds", "3", "--state-only"),
        ("--keys", "zipf", "--log", "kafka", "--events", "2000000"),
    ],
    "training": [("--keys", "uniform"), ("--keys", "zipf")],
    "training_scale": [("--events", "8000000", "--rows", "160000", "--parts", "2,1")],
}
"""With which arguments benchmarks run among all, and how often; the others run once, with none."""


def names() -> list[str]:
    """The benchmarks: the modules here that are programs."""
    found = [path.stem for path in sorted(HERE.glob("[a-z]*.py"))]
    programs = [name for name in found if "\nif __name__" in (HERE / f"{name}.py").read_text()]
    return [name for name in programs if name not in NOT_BENCHMARKS]


def run(name: str, arguments: Arguments, *, quiet: bool) -> tuple[int, list[Figure]]:
    """Run a benchmark in a process of its own; its exit code, and its figures.

    What it prints passes through, but for the JSON lines if `quiet`.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    print(f"== {' '.join([name, *arguments])}", flush=True)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent, start_new_session=True
    )
    # A benchmark may have started processes of its own; the session that it leads is theirs too.
    late = threading.Timer(TIMEOUT_S, os.killpg, (process.pid, signal.SIGKILL))
    late.start()
    lines = []
    try:
        for line in process.stdout or ():
            lines.append(line)
            if not (quiet and line.startswith('{"name"')):
                print(line, end="", flush=True)
        code = process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGTERM)
        raise
    finally:
        late.cancel()
    if code == -signal.SIGKILL:
        print(f"{name} took longer than {TIMEOUT_S:.0f} s and was ended")
    return code, read(lines)


def missing(name: str, arguments: Arguments) -> list[str]:
    """Programs that a benchmark with these arguments needs and this machine has not."""
    needed = ("java", "mvn") if "kafka" in arguments else ()
    needed += ("redis-server",) if name == "mirror_redis" else ()
    return [program for program in needed if shutil.which(program) is None]


def chosen(given: Sequence[str]) -> list[tuple[str, Arguments]]:
    """What to run, from the words of the command line."""
    known = names()
    wanted = [word for word in given if word in known] if given else known
    rest = tuple(word for word in given if word not in known)
    if given and not given[0].startswith("-") and given[0] not in known:
        raise SystemExit(f"There is no benchmark {given[0]}; there are: {', '.join(known)}.")
    if rest and len(wanted) != 1:
        raise SystemExit("Flags are for one benchmark: name it before them.")
    if rest:
        return [(wanted[0], rest)]
    return [(name, arguments) for name in wanted for arguments in AMONG_ALL.get(name, [()])]


def main() -> int:
    """Run what was asked for; 0 if all of it ran (and, if strict, reached its floors)."""
    given = sys.argv[1:]
    if given[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    strict = "--strict" in given
    runs = chosen([word for word in given if word != "--strict"])
    figures, failed = [], []
    for name, arguments in runs:
        if lacking := missing(name, arguments):
            print(f"== {name} {' '.join(arguments)}: left out, needs {' and '.join(lacking)}")
            continue
        code, found = run(name, arguments, quiet=len(runs) > 1)
        figures += found
        if code:
            failed.append(name)
    if len(runs) > 1:
        show(figures)
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    below = [figure.name for figure in figures if not figure.reaches(figure.floor)]
    return 1 if failed or (strict and below) else 0


if __name__ == "__main__":
    sys.exit(main())
