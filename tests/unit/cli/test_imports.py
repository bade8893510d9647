"""`tegula import`: what it says, and what it refuses."""

from __future__ import annotations

import orjson
import polars as pl
import pytest


@pytest.fixture
def shop(project, tegula):
    assert tegula("apply", "-p", project).code == 0
    return project


@pytest.fixture
def history(tmp_path):
    frame = pl.DataFrame(
        {
            "card_id": ["c1", "c2", "c1"],
            "merchant": ["m", None, "m"],
            "paid": [1.0, 2.5, 4.0],
            "at": ["2024-05-01T10:00:00Z", "2024-05-01T11:00:00Z", "2024-05-01T12:00:00Z"],
        }
    )
    frame.write_parquet(tmp_path / "May 2024.parquet")
    return tmp_path / "May 2024.parquet"


def test_import_tells_what_it_brought_and_once(shop, history, tegula):
    words = ("import", "payments", history, "--map", "amount=paid", "-p", shop)
    ran = tegula(*words)
    assert ran.code == 0
    assert "Imported 3 events, from 2024-05-01T10:00:00Z to 2024-05-01T12:00:00Z." in ran.out
    assert "Views that take them up: spend when an engine runs" in ran.err
    again = tegula(*words)
    assert again.code == 0
    assert "Import may-2024-parquet is there already" in again.out
    said = orjson.loads(tegula(*words, "--json").out)
    assert (said["before"], said["events"], said["offsets"]) == (True, 3, [0, 3])
    other = tegula(*words, "--landing-delay", "1d")
    assert other.code == 1
    assert "TG-430" in other.err


def test_import_dry_run_judges_and_writes_nothing(shop, tmp_path, tegula):
    (tmp_path / "h.csv").write_text(
        "card_id,amount,at\nc1,much,2024-05-01\nc1,2,2024-05-01\nc1,3,2024-05-02\n"
    )
    until = "2024-05-02T00:00:00Z"
    words = ("import", "payments", tmp_path / "h.csv", "-p", shop, "--until", until)
    ran = tegula(*words, "--dry-run")
    assert ran.code == 1
    assert "Would import 1 events" in ran.out
    assert "Left out by --since and --until: 1." in ran.out
    assert "TG-202: 1 rows are no events." in ran.err
    assert "no column merchant: it is null in every row" in ran.err
    assert not (shop / ".tegula/lake/imports").exists()
    ran = tegula(*words)
    assert "tegula deadletter list payments" in ran.err


def test_import_by_query_wants_a_name(shop, history, tegula):
    query = f"SELECT card_id, merchant, paid AS amount, \"at\" FROM '{history}' WHERE paid > 2"
    words = ("import", "payments", "--query", query, "-p", shop, "--json")
    assert "needs a name" in tegula(*words).err
    said = orjson.loads(tegula(*words, "--name", "large").out)
    assert (said["name"], said["events"], said["bad"]) == ("large", 2, {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("import", "payment", "x.csv"), "TG-404"),
        (("import", "payments"), "it is not said what to import"),
        (("import", "payments", "x.csv"), "nothing there"),
    ],
)
def test_import_refuses_what_it_cannot_mean(shop, tegula, words, message):
    ran = tegula(*words, "-p", shop)
    assert ran.code == 1
    assert message in ran.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--name", "../up"), "this cannot name an import"),
        (("--map", "amount"), "this does not map a column"),
        (("--map", "amount=x"), "lacks columns"),
        (("--landing-delay", "soon"), "TG-106"),
    ],
)
def test_import_refuses_wrong_flags(shop, history, tegula, flags, message):
    ran = tegula("import", "payments", history, *flags, "-p", shop)
    assert ran.code == 1
    assert message in ran.err
