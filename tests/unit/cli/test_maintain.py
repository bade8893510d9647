"""`tegula maintain`: what it says, and how it ends."""

from __future__ import annotations

import orjson
import pytest

import tegula as tg
from tegula.cli.project import load_definitions

AT = "2024-05-01T12:00:00Z"


@pytest.fixture
def archived(project):
    """A project whose archive has two small files."""
    with tg.TestDriver(load_definitions(project), at=AT, home=project) as driver:
        for _ in range(2):
            event = {"card_id": "c1", "merchant": "m", "amount": 1.0, "at": AT}
            driver.send("payments", event, partition="0")
            driver.settle()
            driver.engine.archiving.flush()
    return project


def test_maintain_says_that_there_is_no_table_yet(project, tegula):
    ran = tegula("maintain", "-p", project)
    assert (ran.code, ran.out.strip()) == (0, "There is no table yet.")


def test_maintain_tells_what_it_would_do_and_then_does_it(archived, tegula):
    tried = orjson.loads(tegula("maintain", "--dry-run", "-p", archived, "--json").out)
    (table,) = tried["tables"]
    assert tried["dry_run"]
    assert (table["table"], table["files"], table["merged"]) == ("log/payments", 2, 2)
    assert "Nothing was changed." in tegula("maintain", "--dry-run", "-p", archived).err
    ran = tegula("maintain", "-p", archived)
    assert ran.code == 0
    assert "log/payments" in ran.out
    (table,) = orjson.loads(tegula("maintain", "-p", archived, "--json").out)["tables"]
    assert (table["files"], table["merged"], table["faults"]) == (1, 0, [])


def test_maintain_names_a_file_that_is_gone(archived, tegula):
    next((archived / ".tegula/lake").rglob("part-*.parquet")).unlink()
    ran = tegula("maintain", "-p", archived)
    assert ran.code == 3
    assert "TG-724" in ran.err
