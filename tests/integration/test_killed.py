"""Long commands that are killed anywhere, and asked for again: the same as if nothing had been."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from tegula.backfill.training.manifest import read_manifest
from tegula.connectors.imports import ImportFile
from tegula.engine.settings import load_settings
from tests.support.killing import Commands

KILLS = int(os.environ.get("TEGULA_KILLS", "1"))
"""How often each command is killed twice; more find more."""

ROWS = 8_000
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
FEATURES = """
from __future__ import annotations

import tegula as tg
from tegula import agg, lifetime, sliding

card = tg.Entity("card", keys={"card_id": tg.String})
limits = tg.Table("limits", entity=card, schema={"most": tg.Float64}, valid_from="day")
payments = tg.Stream(
    "payments",
    schema={"card_id": tg.String, "amount": tg.Float64, "at": tg.Timestamp},
    event_time="at",
)
spend = tg.FeatureView(
    "spend",
    entity=card,
    stream=payments,
    features={
        "n": agg.count().over(sliding("1h")),
        "ever": agg.sum("amount").over(lifetime()),
        "cards": agg.approx_quantile("amount", 0.5).over(sliding("1d")),
    },
)
"""


def frame(seed: int, at: str, value: str) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    instants = NOON - pl.Series(draw.integers(1, 10**11, ROWS)).cast(pl.Duration("us"))
    cards = [f"c{n}" for n in draw.integers(0, 200, ROWS)]
    return pl.DataFrame({"card_id": cards, value: np.arange(ROWS) * 0.5, at: instants})


@pytest.fixture(scope="module")
def commands(tmp_path_factory, seed) -> Iterator[Commands]:
    made = Commands(tmp_path_factory.mktemp("commands"), random.Random(seed))
    yield made
    met = [moment for moment in made.moments if "late" not in moment]
    assert len(met) > len(made.moments) // 4, made.moments


@pytest.fixture(scope="module")
def project(tmp_path_factory, seed, commands) -> Path:
    """A project with a table that was materialised once, and payments that were imported."""
    folder = tmp_path_factory.mktemp("killed") / "project"
    (folder / "features").mkdir(parents=True)
    (folder / "tegula.toml").write_text("shards = 2\n")
    (folder / "features" / "all.py").write_text(FEATURES)
    frame(seed, "day", "most").write_parquet(folder / "limits.parquet", row_group_size=1_000)
    frame(seed + 1, "at", "amount").write_parquet(folder / "p.parquet", row_group_size=1_000)
    commands.run("apply", "-p", folder)
    commands.run("materialize", "limits", folder / "limits.parquet", "-p", folder)
    commands.run("import", "payments", folder / "p.parquet", "-p", folder)
    return folder


def records(project: Path, stream: str) -> tuple[list[tuple[str, int, int]], list[object]]:
    """The imports of a stream, and all their records in order of offsets."""
    settings = load_settings(project)
    file = ImportFile(settings.imports_path(stream), stream)
    names = [(one.name, one.first_offset, one.count) for one in file.imports()]
    found: list[object] = []
    while (batch := file.read(len(found), 100_000)) is not None:
        assert batch.offsets[0] == len(found)
        found += [orjson.loads(payload or b"") for payload in batch.payloads]
    file.close()
    return names, found


def left(folder: Path) -> list[str]:
    """What a command keeps only while it runs."""
    hidden = [path for path in folder.rglob(".*") if path.name != ".tegula"]
    return [str(path.relative_to(folder)) for path in (*hidden, *folder.rglob("staging"))]


def test_crash_import_killed_anywhere_and_asked_again_is_the_same(commands, project, tmp_path):
    source = project / "more.parquet"
    frame(7, "at", "amount").write_parquet(source, row_group_size=1_000)

    def words(home: Path) -> tuple[str | Path, ...]:
        return ("import", "payments", source, "-p", home)

    whole = shutil.copytree(project, tmp_path / "whole")
    commands.run(*words(whole))
    expected = records(whole, "payments")
    assert len(expected[1]) == 2 * ROWS
    for number in range(KILLS):
        home = shutil.copytree(project, tmp_path / f"{number}")
        commands.kill(*words(home))
        assert len(records(home, "payments")[1]) in (ROWS, 2 * ROWS), commands.moments
        commands.kill(*words(home))
        commands.run(*words(home))
        assert records(home, "payments") == expected, commands.moments
        assert "is there already" in commands.run(*words(home))
        assert left(home) == [], commands.moments


def test_crash_table_killed_anywhere_and_asked_again_is_the_same(commands, project, tmp_path):
    source = project / "corrected.parquet"
    before = pl.read_parquet(project / "limits.parquet")
    corrected = before.with_columns(pl.when(pl.col("most") > 1_000).then("most").alias("most"))
    new = frame(8, "day", "most").head(500)
    pl.concat([corrected, new]).write_parquet(source, row_group_size=1_000)

    def words(home: Path) -> tuple[str | Path, ...]:
        return ("materialize", "limits", source, "-p", home)

    whole = shutil.copytree(project, tmp_path / "whole")
    commands.run(*words(whole))
    expected = records(whole, "limits")
    assert ROWS < len(expected[1]) < 2 * ROWS
    for number in range(KILLS):
        home = shutil.copytree(project, tmp_path / f"{number}")
        commands.kill(*words(home))
        assert len(records(home, "limits")[1]) in (ROWS, len(expected[1])), commands.moments
        commands.kill(*words(home))
        commands.run(*words(home))
        assert records(home, "limits") == expected, commands.moments
        assert "has all" in commands.run(*words(home))
        assert left(home) == [], commands.moments


@pytest.mark.parametrize("replaces", [False, True])
def test_crash_set_killed_anywhere_and_asked_again_is_the_same(
    commands, project, tmp_path, replaces
):
    spine = tmp_path / "spine.parquet"
    frame(9, "at", "y").write_parquet(spine)
    small = tmp_path / "small.parquet"
    frame(9, "at", "y").head(5).write_parquet(small)

    def words(out: Path, rows: Path = spine) -> tuple[str | Path, ...]:
        given = ("--features", "spend,limits", "--memory", "1", "-p", project, "--out", out)
        return ("dataset", "build", rows, *given, "--replace")

    commands.run(*words(tmp_path / "whole" / "set"))
    expected = read_manifest(tmp_path / "whole" / "set")
    assert expected["buckets"] > 1
    for number in range(KILLS // 2 or 1):
        out = tmp_path / f"{number}" / "set"
        seconds, steps = commands.seconds, commands.steps
        if replaces:
            commands.run(*words(out, small))
            commands.seconds, commands.steps = seconds, steps
        commands.kill(*words(out))
        if out.exists():
            rows = read_manifest(out)["rows"]
            assert rows in ((5, ROWS) if replaces else (ROWS,)), commands.moments
            assert pl.read_delta(str(out)).height == rows
        commands.kill(*words(out))
        commands.run(*words(out))
        manifest = read_manifest(out)
        assert manifest["hash"] == expected["hash"], commands.moments
        assert manifest["files"] == expected["files"]
        assert manifest["views"] == expected["views"]
        assert [one.name for one in out.parent.iterdir()] == ["set"], commands.moments
