"""Checkpoints beside a registry that is a database elsewhere, and has gone on without the state."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tegula.schemas.errors import StateError
from tegula.state.registry import Registry
from tests.support.homes import CARDS, SHARDS, SPEND, Home


@pytest.fixture
def home(tmp_path: Path, seed: int) -> Iterator[Home]:
    made = Home(tmp_path, random.Random(seed))
    yield made
    made.driver.close()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is no file: a database elsewhere, which outlives the home."""
    monkeypatch.setattr(Registry, "copy_to", lambda registry, path: False)


def lose_all_but_the_registry(home: Home) -> None:
    lost = home.lose()
    shutil.copy(lost / "registry.db", home.settings.home / "registry.db")


@pytest.mark.usefixtures("elsewhere")
def test_checkpoint_fits_a_registry_elsewhere_that_has_gone_on(home):
    home.send()
    manifest = home.checkpoint()
    assert manifest.registry is None
    home.send()
    expected = home.values()
    lose_all_but_the_registry(home)
    home.restore()
    home.open()
    home.driver.settle()
    assert home.values() == expected


@pytest.mark.usefixtures("elsewhere")
def test_build_that_caught_up_since_the_checkpoint_catches_up_again(home):
    home.send()
    registry = home.driver.engine.registry
    build = registry.start_backfill("spend", home.now_us)
    home.driver.engine.survey()
    home.driver.engine.look()  # it is known, and has read nothing
    home.driver.engine.step()
    manifest = home.checkpoint()
    assert {one.id: one.status for one in manifest.builds}[build.id] == "catching_up"
    home.driver.settle()
    home.send()
    assert registry.catalogue().active["spend"] == build.id
    expected = home.driver.read(SPEND, {"card_id": CARDS}).values
    lose_all_but_the_registry(home)
    home.restore()
    home.open()
    home.driver.settle()
    assert home.driver.read(SPEND, {"card_id": CARDS}).values == expected


@pytest.mark.usefixtures("elsewhere")
def test_registry_of_another_project_is_refused(home, tmp_path, seed):
    home.send()
    home.checkpoint()
    home.lose()
    settings = home.settings
    registry = Registry(settings.registry_url_or_default)
    registry.create(SHARDS)
    registry.close()
    with pytest.raises(StateError, match="not the one that this checkpoint was made with"):
        home.restore()
    assert not settings.state_path.exists()
    (settings.home / "registry.db").unlink()
    home.open()
