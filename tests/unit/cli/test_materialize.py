"""`tegula materialize`: what it says, and what is no table."""

from __future__ import annotations

import orjson
import pytest

TABLE = """
from features.example import card

limits = tg.Table("limits", entity=card, schema={"limit": tg.Float64}, valid_from="day")
"""


@pytest.fixture
def shop(project, tegula, tmp_path):
    definitions = "from __future__ import annotations\n\nimport tegula as tg\n" + TABLE
    (project / "features/limits.py").write_text(definitions)
    assert tegula("apply", "-p", project).code == 0
    (tmp_path / "limits.csv").write_text(
        "card_id,limit,day\nc1,100,2024-05-01\nc2,50,2024-05-02\nc1,200,2024-05-03\n"
    )
    return project


def test_materialize_tells_what_is_new(shop, tmp_path, tegula):
    words = ("materialize", "limits", tmp_path / "limits.csv", "-p", shop)
    ran = tegula(*words)
    assert ran.code == 0
    assert "3 rows of limits are new or have changed, the newest of 2024-05-03" in ran.out
    assert "limits has all 3 rows already." in tegula(*words).out
    with (tmp_path / "limits.csv").open("a") as file:
        file.write("c3,many,2024-05-04\nc3,7,2024-05-04\n")
    ran = tegula(*words, "--json", "--since", "2024-05-02T00:00:00Z")
    assert ran.code == 1
    said = orjson.loads(ran.out)
    assert (said["rows"], said["read"], said["bad"]) == (2, 5, {"TG-202": 1})
    assert said["newest"] == "2024-05-04T00:00:00Z"


def test_materialize_refuses_what_is_no_table(shop, tmp_path, tegula):
    ran = tegula("materialize", "payments", tmp_path / "limits.csv", "-p", shop)
    assert ran.code == 1
    assert "is no table" in ran.err
    assert "TG-404" in tegula("materialize", "limit", "x.csv", "-p", shop).err
