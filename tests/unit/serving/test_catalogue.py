"""Following the catalogue: new versions are taken up, a registry that is down freezes the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tegula.engine.apply import prints_of
from tegula.schemas import agg
from tegula.schemas.codec import collect, dump
from tegula.schemas.definitions import FeatureService, FeatureView
from tegula.schemas.windows import sliding
from tegula.serving.catalogue import CatalogueFollower
from tegula.state.registry import Registry
from tests.support.serving import CARD, PAYMENTS


def apply(registry: Registry, *features: str) -> None:
    view = FeatureView(
        "spend",
        entity=CARD,
        stream=PAYMENTS,
        features={name: agg.count().over(sliding("1h")) for name in features},
    )
    definitions = collect(FeatureService("fraud", version=1, features=[view]))
    registry.apply(dump(definitions), prints_of(definitions), author="a", message="m", now_us=1)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(f"sqlite:///{tmp_path / 'registry.db'}")


def test_follower_takes_up_what_is_applied_and_activated(registry):
    follower = CatalogueFollower(registry, 16)
    assert not follower.look()
    assert (follower.version, follower.fault.code) == (0, "TG-512")
    registry.create(4)
    assert not follower.look()
    assert follower.fault is None
    apply(registry, "n")
    assert follower.look()
    assert follower.current().shards == 4
    assert follower.current().services["fraud"].unready == ("spend:n",)
    (row,) = registry.builds()
    registry.mark_live(row.id)
    registry.activate("spend", row.id)
    assert follower.look()
    assert follower.current().services["fraud"].unready == ()
    assert not follower.look()


def test_follower_keeps_the_last_version_while_the_registry_is_down(registry, tmp_path):
    registry.create(4)
    apply(registry, "n")
    follower = CatalogueFollower(registry, 4)
    follower.look()
    before = follower.current()
    file = tmp_path / "registry.db"
    file.rename(tmp_path / "away.db")
    assert not follower.look()
    assert follower.current() is before
    assert follower.fault is not None
    (tmp_path / "away.db").rename(file)
    apply(registry, "n", "m")
    assert follower.look()
    assert (follower.fault, follower.version) == (None, before.version + 1)


def test_follower_takes_up_a_registry_that_was_put_in_place_of_its_own(registry, tmp_path):
    """As restoring a checkpoint does, beside servers that run; also one that counts as far."""
    registry.create(4)
    apply(registry, "n")
    follower = CatalogueFollower(registry, 4)
    assert follower.look()
    other = Registry(f"sqlite:///{tmp_path / 'other.db'}")
    other.create(8)
    apply(other, "m")
    other.close()
    for beside in tmp_path.glob("registry.db-*"):
        beside.unlink()
    (tmp_path / "other.db").replace(tmp_path / "registry.db")
    assert follower.look()
    assert follower.current().shards == 8
    assert follower.current().services["fraud"].unready == ("spend:m",)
    assert not follower.look()


def test_follower_looks_by_itself_until_it_is_stopped(registry):
    registry.create(4)
    apply(registry, "n")
    follower = CatalogueFollower(registry, 4)
    follower.start()
    assert follower.version == 1, "it looks before it starts"
    follower.stop()
