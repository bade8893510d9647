"""Chaos in short: a real broker and real engines, killed; then everything is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.world import Chaos

KILLS = 1


@pytest.mark.services
@pytest.mark.slow
def test_chaos_loses_nothing_and_doubles_nothing(own_kafka, tmp_path: Path, seed):
    own_kafka.start()
    chaos = Chaos(tmp_path / "home", own_kafka, seed, per_second=300)
    try:
        chaos.run(KILLS)
    except BaseException as fault:
        fault.add_note(f"what happens: python -m tests.chaos --kills {KILLS} --seed {seed}")
        raise
    finally:
        chaos.close()
