"""A state at rest in the middle of everything: it verifies clean, and keys may be made anew."""

from __future__ import annotations

import random

from tegula.backfill.at_rest import reading, writing
from tegula.backfill.rebuild import rebuild
from tegula.backfill.verify import verify
from tegula.engine.settings import Settings
from tegula.schemas.errors import StateError
from tegula.state.keys import encode_key
from tests.simulation.faults import Faults
from tests.simulation.records import KEYS


def verify_and_rebuild(settings: Settings, faults: Faults, chance: random.Random) -> None:
    """Nothing is wrong before, whatever has happened; then make some keys of a view anew.

    The process may die while it does.
    """
    armed, faults.armed = faults.armed, False
    try:
        with reading(settings) as home:
            builds = home.deployed.builds
            report = verify(home, builds=builds, sample=100, seed=chance.randint(0, 9))
    except StateError as fault:
        if "no state yet" in fault.message:
            return
        raise
    finally:
        faults.armed = armed
    assert report.faults == [], report.faults
    with writing(settings) as home:
        if not home.deployed.builds:
            return
        view = chance.choice(sorted({build.view for build in home.deployed.builds}))
        builds = home.builds_of(view)
        some = [encode_key((key,), ("string",)) for key in chance.sample(KEYS, 2)]
        rebuild(home, builds, {build.id: some for build in builds})
