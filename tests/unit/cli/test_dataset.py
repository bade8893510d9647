"""`tegula dataset`: what build, list, show and rebuild say, end with, and refuse."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from tegula.cli.main import main

PAYMENTS = """\
{"card_id": "c1", "merchant": "m1", "amount": 1.5, "at": "2024-05-01T10:00:00Z"}
{"card_id": "c1", "merchant": "m2", "amount": 2.5, "at": "2024-05-01T10:30:00Z"}
{"card_id": "c2", "merchant": "m1", "amount": 4.0, "at": "2024-05-01T11:00:00Z"}
"""
LABELS = """\
card,when,is_fraud
c1,2024-05-01T10:45:00Z,0
c1,2024-05-01T10:00:00Z,1
c2,2024-05-01T12:30:00Z,1
"""
MADE = ("--key", "card_id=card", "--at", "when", "--label", "is_fraud=30d", "--include", "status")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three payments and a set `labels`; tests may add sets, and change no other."""
    folder = tmp_path_factory.mktemp("dataset")
    shop = folder / "shop"
    (folder / "payments.ndjson").write_text(PAYMENTS)
    (folder / "labels.csv").write_text(LABELS)
    with redirect_stdout(StringIO()):
        assert main(["init", str(shop)]) == 0
        assert main(["apply", "-p", str(shop)]) == 0
        assert main(["push", "payments", str(folder / "payments.ndjson"), "-p", str(shop)]) == 0
        assert build(shop, "--features", "fraud", *MADE) == 0
    return shop


def labels(shop: Path) -> Path:
    return shop.parent / "labels.csv"


def build(shop: Path, *words: str) -> int:
    return main(["dataset", "build", str(labels(shop)), "-p", str(shop), *words])


def test_dataset_build_tells_rows_features_place_and_statuses(shop, tegula):
    words = ("--features", "spend:spent_1h,spend:last_merchant", "--service", "spend", *MADE)
    out = shop.parent / "told"
    ran = tegula("dataset", "build", labels(shop), "-p", shop, *words, "--out", out)
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert first == f"3 rows with 6 features in {out}."
    assert second.startswith("Clock event. Values: EMPTY 3, NOT_FOUND 6, PRESENT 9. In 2 rows")
    frame = pl.read_delta(str(out))
    assert frame.columns[:5] == [
        "card",
        "when",
        "is_fraud",
        "spend:spent_1h",
        "spend:spent_1h|status",
    ]
    assert frame["spend:spent_1h"].to_list() == [4.0, 0.0, 0.0]


def test_dataset_build_gives_the_manifest_to_machines(shop, tegula):
    out = shop.parent / "machines"
    words = ("--features", "spend:spent_1h", *MADE, "--out", out, "--json")
    ran = tegula("dataset", "build", labels(shop), "-p", shop, *words)
    said = orjson.loads(ran.out)
    assert ran.code == 0
    assert (said["path"], said["rows"], said["clock"]) == (str(out), 3, "event")
    assert said["columns"] == ["spend:spent_1h"]
    manifest = orjson.loads((out / "_tegula" / "manifest.json").read_bytes())
    assert {**manifest, "path": str(out)} == said


def test_dataset_build_takes_what_is_not_applied_from_the_files(project, tegula):
    (project.parent / "none.csv").write_text("card_id,at\nc1,2024-05-01T10:00:00Z\n")
    words = ("dataset", "build", project.parent / "none.csv", "-p", project)
    ran = tegula(*words, "--features", "fraud@1", "--features", "spend:spent_1h")
    assert ran.code == 0
    assert "1 rows with 6 features" in ran.out
    missing = tegula(*words, "--features", "nothing", "--replace")
    assert (missing.code, "TG-402" in missing.err) == (1, True)


def test_dataset_list_names_all_sets(shop, tegula):
    ran = tegula("dataset", "list", "-p", shop)
    assert ran.code == 0
    (row,) = [line.split() for line in ran.out.splitlines() if line.startswith(" labels")]
    assert (row[0], row[2:]) == ("labels", ["event", "3", "6"])
    (told,) = [
        one
        for one in orjson.loads(tegula("dataset", "list", "-p", shop, "--json").out)
        if one["path"].endswith("/labels")
    ]
    assert (told["rows"], told["late_rows"], len(told["hash"])) == (3, 2, 64)


def test_dataset_list_of_a_new_project_is_empty(project, tegula):
    assert tegula("dataset", "list", "-p", project, "--json").out == "[]\n"


@pytest.mark.parametrize("form", ["name", "folder", "manifest"])
def test_dataset_show_finds_a_set_by_name_folder_or_manifest(shop, tegula, form):
    folder = shop / ".tegula/lake/datasets/labels"
    named = {"name": "labels", "folder": folder, "manifest": folder / "_tegula/manifest.json"}
    ran = tegula("dataset", "show", named[form], "-p", shop)
    assert ran.code == 0
    assert "3 rows, made 20" in ran.out
    assert "Clock event. Values: EMPTY 3, NOT_FOUND 6, PRESENT 9." in ran.out
    (row,) = [line.split() for line in ran.out.splitlines() if "spend:spent_1h" in line]
    assert row == ["spend:spent_1h", "Float64", "3", "0", "0.0", "4.0", "1.33333", "2.3094"]
    said = orjson.loads(tegula("dataset", "show", named[form], "-p", shop, "--json").out)
    assert said == orjson.loads((folder / "_tegula/manifest.json").read_bytes())


def test_dataset_rebuild_says_the_same_or_what_changed(shop, tegula, tmp_path):
    same = tegula("dataset", "rebuild", "labels", "-p", shop)
    assert (same.code, same.out) == (0, "The same 3 rows, bit for bit.\n")
    (tmp_path / "other.csv").write_text(LABELS.replace("10:45", "10:15"))
    words = ("dataset", "rebuild", "labels", "-p", shop, "--spine", tmp_path / "other.csv")
    out = tmp_path / "again"
    changed = tegula(*words, "--out", out)
    assert (changed.code, changed.out) == (1, "The set is not the same.\n")
    assert "the values of some rows differ" in changed.err
    assert pl.read_delta(str(out))["spend:spent_1h"].to_list() == [1.5, 0.0, 0.0]
    told = tegula(*words, "--json")
    assert told.code == 1
    said: dict[str, Any] = orjson.loads(told.out)
    assert (said["same"], said["path"], said["rows"], said["remarks"]) == (False, None, 3, [])


def test_dataset_of_what_was_served_says_what_is_missing(shop, tegula):
    words = ("dataset", "build", labels(shop), "-p", shop, "--features", "fraud", *MADE, "--json")
    ran = tegula(*words, "--clock", "served", "--out", shop.parent / "served")
    assert ran.code == 1
    assert orjson.loads(ran.err.splitlines()[-1])["error"]["code"] == "TG-426"
    ran = tegula(*words, "--max-age", "1h", "--out", shop.parent / "served")
    assert "`max_age` has a meaning only by the clock `served`" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("make",), "does not say what to do"),
        (("build",), "does not say what to do"),
        (("build", "a.csv", "b.csv"), "does not say what to do"),
        (("list", "labels"), "does not say what to do"),
        (("build", "LABELS"), "no feature is asked for"),
        (("build", "LABELS", "--features", "spend", *MADE), "TG-422"),
        (("build", "LABELS", "--features", "spend:nothing"), "TG-403"),
        (("build", "LABELS", "--features", "nothing"), "TG-402"),
        (("build", "LABELS", "--features", "spend", "--out", "OUT"), "no column 'at', 'card_id'"),
        (("build", "nowhere.csv", "--features", "spend"), "there is no such file"),
        (("build", "LABELS", "--features", "spend", "--key", "card"), "this is no pair"),
        (("build", "LABELS", "--features", "spend", "--label", "=30d"), "this is no pair"),
        (("build", "LABELS", "--features", "spend", "--clock", "wall", "--out", "OUT"), "TG-421"),
        (("build", "SELECT 1", "--features", "spend", "--connection", "sqlite://"), "needs a name"),
        (("show", "nothing"), "TG-423"),
        (("rebuild", "nothing"), "TG-423"),
    ],
)
def test_dataset_refuses_what_it_cannot_mean(shop, tegula, tmp_path, words, said):
    places = {"LABELS": labels(shop), "OUT": tmp_path / "out"}
    ran = tegula("dataset", *(places.get(word, word) for word in words), "-p", shop)
    assert ran.code == 1
    assert said in " ".join(ran.err.split())
    assert ran.out == ""
    assert not (tmp_path / "out").exists()
