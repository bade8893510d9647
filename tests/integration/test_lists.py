"""Columns of lists, all the way: pushed, folded, archived, replayed, read by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl
import pyarrow as pa
import pytest

import tegula as tg
from tegula import agg, session, sliding, tumbling
from tegula.schemas.errors import DefinitionErrors
from tegula.schemas.outcomes import Status
from tegula.serving.events import ARROW_TYPE, records_of

NOON = "2024-05-01T12:00:00Z"
ARTICLES = tg.Stream(
    "articles",
    schema={
        "reader": tg.String,
        "tags": tg.List(tg.String),
        "authors": tg.List(tg.Int64),
        "scores": tg.List(tg.Float64),
        "flags": tg.List(tg.Bool),
        "long": tg.Bool,
        "at": tg.Timestamp,
    },
    event_time="at",
    disorder="30s",
)
READ = tg.FeatureView(
    "read",
    entity=tg.Entity("reader", keys={"reader": tg.String}),
    stream=ARTICLES,
    features={
        "tags": agg.union("tags").over(sliding("1h")),
        "tags_long": agg.union("tags", where="long").over(sliding("1h")),
        "few": agg.union("tags", cap=2).over(sliding("1h")),
        "authors": agg.union("authors").over(tumbling("1h", current=True)),
        "scores": agg.union("scores").over(tg.lifetime(), default=[]),
        "flags": agg.union("flags").over(sliding("1h")),
        "visit": agg.union("tags").over(session("10m")),
        "each_hour": agg.union("tags").over(tg.series("1h", "1h", 2)),
    },
)
ANN = {"reader": "ann"}


def article(at: str, tags: Any, reader: str = "ann", **more: Any) -> dict[str, Any]:
    return {"reader": reader, "tags": tags, "at": f"2024-05-01T{at}Z", **more}


STORY = [
    article("10:30:00", ["old", "é"]),
    article("11:10:00", ["b", "a", None, "a"], authors=[3, 2**53 + 1, None], long=True),
    article("11:20:00", [], authors=[], scores=[0.5, -0.0, 0, -3], flags=[True, None]),
    article("11:55:00", ["a", "ü", ""], flags=[False, True], long=False),
    article("11:58:00", None, scores=[None]),
    article("11:59:00", ["c"], reader="bob"),
]
EXPECTED = {
    "read:tags": ["", "a", "b", "ü"],
    "read:tags_long": ["a", "b"],
    "read:few": None,
    "read:authors": None,
    "read:scores": [-3.0, 0.0, 0.5],
    "read:flags": [False, True],
    "read:visit": ["", "a", "ü"],
    "read:each_hour": [["", "a", "b", "ü"], ["old", "é"]],
}


def test_union_is_the_elements_of_all_lists_in_the_window():
    with tg.TestDriver(READ, at=NOON) as driver:
        driver.send("articles", STORY, partition="0")
        assert driver.online(READ, ANN) == EXPECTED
        statuses = driver.statuses(READ, ANN)
        assert statuses["read:few"] is Status.OVERFLOW
        assert statuses["read:authors"] is Status.EMPTY
        assert statuses["read:tags"] is Status.PRESENT
        driver.advance_to("2024-05-01T12:10:01Z")  # only the second falls out, with b
        assert driver.online("read:tags", ANN) == {"read:tags": ["", "a", "b", "ü"]}
        driver.advance_to("2024-05-01T12:11:00Z")
        assert driver.online("read:tags", ANN) == {"read:tags": ["", "a", "ü"]}
        assert driver.online("read:tags", {"reader": "bob"}) == {"read:tags": ["c"]}


def test_union_is_the_same_online_offline_after_a_crash_and_a_backfill():
    with tg.TestDriver(READ, at=NOON) as driver:
        driver.send("articles", STORY[:3], partition="0")
        driver.settle()
        driver.send("articles", STORY[3:], partition="1")
        assert driver.offline(READ, ANN) == driver.online(READ, ANN) == EXPECTED
        driver.crash()
        driver.restart()
        assert driver.online(READ, ANN) == EXPECTED
        driver.backfill("read")
        assert driver.online(READ, ANN) == EXPECTED


def test_list_with_a_wrong_element_is_dead_lettered_alone_and_names_its_place():
    with tg.TestDriver(READ, at=NOON) as driver:
        wrong = article("11:59:00", ["a", 7])
        driver.send("articles", [STORY[1], wrong, STORY[3]], partition="0")
        assert driver.online("read:tags", ANN) == {"read:tags": ["", "a", "b", "ü"]}
        (bad,) = driver.dead_letters("articles")
        assert bad.code == "TG-202"
        assert bad.reason == 'field "tags", element 1: expected String, got 7'


def test_archive_of_lists_is_plain_lists_to_others_and_outlives_a_restart(tmp_path: Path):
    for part in (STORY[:3], STORY[3:]):
        with tg.TestDriver(READ, at=NOON, home=tmp_path) as driver:
            driver.send("articles", part, partition="0")
            driver.settle()
            driver.engine.archiving.flush()
    files = tmp_path / ".tegula" / "lake" / "log" / "articles" / "**" / "*.parquet"
    with duckdb.connect() as database:
        found = database.execute(
            f"select tags, authors, scores, flags from '{files}' order by _offset"
        )
        assert [column[1] for column in found.description] == [
            "VARCHAR[]",
            "BIGINT[]",
            "DOUBLE[]",
            "BOOLEAN[]",
        ]
        rows = found.fetchall()
    names = ("tags", "authors", "scores", "flags")
    assert rows == [tuple(one.get(name) for name in names) for one in STORY]


def test_column_of_lists_is_added_to_a_stream_and_keeps_its_type():
    plain = {name: dtype for name, dtype in ARTICLES.schema.items() if dtype.item is None}
    stream = tg.Stream("articles", schema=plain, event_time="at")
    count = {"n": agg.count().over(sliding("1h"))}
    first = tg.FeatureView("n", entity=READ.entity, stream=stream, features=count)
    with tg.TestDriver(first, at=NOON) as driver:
        driver.send("articles", STORY[:2], partition="0")
        driver.settle()
        driver.engine.archiving.flush()
        driver.apply(tg.FeatureView("n", entity=READ.entity, stream=ARTICLES, features=count), READ)
        driver.send("articles", STORY[2:], partition="0")
        driver.backfill("read")
        found = driver.online(["read:tags", "n:n"], ANN)
        assert found == {"read:tags": ["", "a", "ü"], "n:n": 4}, "the first rows had no lists"
        changed = {**ARTICLES.schema, "tags": tg.List(tg.Int64)}
        again = tg.Stream("articles", schema=changed, event_time="at", disorder="30s")
        with pytest.raises(DefinitionErrors, match=r"TG-119.*List\(Int64\).*List\(String\)"):
            driver.apply(tg.FeatureView("n", entity=READ.entity, stream=again, features=count))


def test_lists_of_an_arrow_stream_become_json_arrays():
    with tg.TestDriver(READ, at=NOON) as driver:
        plan = driver.engine.deployed.streams["articles"]
        frame = pl.DataFrame({"tags": [["a", None], [], None], "authors": [[1], None, [2]]})
        sink = pa.BufferOutputStream()
        table = frame.to_arrow()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        records = records_of(sink.getvalue().to_pybytes(), ARROW_TYPE, plan)
    assert [orjson.loads(record) for record in records] == frame.to_dicts()
