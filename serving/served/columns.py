"""From noted answers to rows of the served log: one row a key, columns throughout.

The bodies of the answers are the source, so what the log says is what went out. They are parsed
all at once by a columnar reader, which lets other threads go on meanwhile.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from ...schemas.types import DataType
from ...state.keys import encode_keys, hashes_of, shards_of
from ...state.served import APPLIED, OWN_COLUMNS
from ...state.served_columns import status_column
from ..keys import KeyColumns
from ..plan import FeaturePlan
from ..protocol import parse_instant
from ..read import KEYS_AT_ONCE
from .notes import NEVER_US, Noted, Notes, Place

_NO_VALUES: Final = b'"values":null}'
_INSTANT: Final = "%Y-%m-%dT%H:%M:%S%.fZ"
_UTC: Final = pl.Datetime("us", "UTC")
_KEY_TYPES: Final[Mapping[str, pl.DataType]] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "bool": pl.Boolean(),
    "time": pl.String(),  # as it was written: text, or µs
}
_APPLIED_TYPE: Final = pl.Schema(pa.schema([("_applied", APPLIED)]))["_applied"]


def rows_of(notes: Notes, *, writer: str, first_sequence: int) -> pl.DataFrame:
    """The rows of some answers, which `writer` counts from `first_sequence` on.

    Columns as `state.served` has them, but `_date`. O(values).
    """
    plan = notes.plan
    outputs = _outputs(plan)
    wide = _wide(notes, outputs).with_columns(
        pl.Series("_sequence", np.arange(len(notes)) + first_sequence)
    )
    listed = [name for name, dtype in wide.schema.items() if isinstance(dtype, pl.List)]
    rows = wide.explode(listed).with_columns(
        pl.col("_served_us").cast(_UTC).alias("_served"),
        pl.col("_as_of_us").replace(NEVER_US, None).cast(_UTC).alias("_as_of"),
        pl.lit(writer).alias("_writer"),
        pl.lit(0 if plan.service is None else plan.service.version, pl.Int64).alias("_version"),
        *(_instants(pl.col(name), dtype).alias(name) for name, dtype in outputs.items()),
    )
    kinds = dict(column for entity in plan.entities for column in entity.columns)
    rows = rows.with_columns(
        _key_instants(rows[name]) for name, kind in kinds.items() if kind == "time"
    )
    rows = rows.with_columns(_applied(notes, rows))
    features = [column for name in plan.names for column in (name, status_column(name))]
    columns = [*OWN_COLUMNS.names, *kinds, *features]
    return rows.select(name for name in columns if name in rows.columns)


def warm_up() -> None:
    """Let libraries load what they load at first use, before requests would wait meanwhile."""
    encode_keys([pa.array([""], pa.large_string())], ["string"])
    _read([b"{}"], {"values": pl.Struct({"_": pl.List(pl.Int64())})})


def _wide(notes: Notes, outputs: Mapping[str, DataType]) -> pl.DataFrame:
    """One row an answer, with lists of what each of its keys has."""
    plan = notes.plan
    statuses = {name: pl.List(pl.String()) for name in plan.names}
    values = {name: pl.List(_written(dtype)) for name, dtype in outputs.items()}
    answers = _read(
        notes.answers,
        {"values": pl.Struct(values), "status": pl.Struct(statuses), "trace_id": pl.String()},
    )
    keys = {
        column: pl.List(_KEY_TYPES[kind])
        for entity in plan.entities
        for column, kind in entity.columns
    }
    asked = _read(notes.asked, {"keys": pl.Struct(keys)})
    numbers = np.frombuffer(notes.numbers, np.int64).reshape(-1, len(Noted._fields))
    wide = pl.DataFrame(
        [
            *(pl.Series(f"_{name}", numbers[:, n]) for n, name in enumerate(Noted._fields)),
            pl.Series("_answer", np.arange(len(notes))),
            answers["trace_id"].alias("_trace_id"),
            _requests(notes.asked, numbers[:, Noted._fields.index("key_count")].tolist()),
            *answers["values"].struct.unnest().get_columns(),
            *answers["status"].struct.unnest().rename(status_column).get_columns(),
            *asked["keys"].struct.unnest().get_columns(),
        ]
    )
    present = pl.lit("PRESENT").repeat_by("_key_count")
    return wide.with_columns(
        pl.int_ranges(0, "_key_count").alias("_row"),
        # A feature that the answer says nothing of is present throughout.
        *(pl.col(status_column(name)).fill_null(present) for name in plan.names),
    )


def _read(lines: Sequence[bytes], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """JSON values as columns of these types; whatever else they hold is left out."""
    return pl.read_ndjson(io.BytesIO(b"\n".join(lines)), schema=schema)


def _outputs(plan: FeaturePlan) -> dict[str, DataType]:
    """The type of each feature that a build has, in the order of the answer."""
    types = {
        name: feature.output
        for part in plan.parts
        for name, feature in zip(part.names, part.features, strict=True)
    }
    return {name: types[name] for name in plan.names if name in types}


def _written(dtype: DataType) -> pl.DataType:
    """The type as which an answer writes values: of instants the text."""
    if dtype.item is not None:
        item = _written(dtype.item)
        return pl.Map(pl.String(), item) if dtype.kind == "map" else pl.List(item)
    return pl.String() if dtype.kind == "time" else dtype.polars


def _instants(column: pl.Expr, dtype: DataType) -> pl.Expr:
    """Instants and lists of them in their own type; in maps they stay text."""
    if dtype.kind == "time":
        return column.str.to_datetime(_INSTANT, time_unit="us", strict=False).dt.replace_time_zone(
            "UTC"
        )
    if dtype.kind == "list" and dtype.item is not None and dtype.item.kind == "time":
        return column.list.eval(_instants(pl.element(), dtype.item))
    return column


def _key_instants(texts: pl.Series) -> pl.Series:
    """Key values that are instants, as a request may write them: text, or µs."""
    distinct = texts.drop_nulls().unique().to_list()
    read = [
        parse_instant(int(text) if text.lstrip("-").isdigit() else text, texts.name)
        for text in distinct
    ]
    return texts.replace_strict(distinct, read, default=None, return_dtype=pl.Int64).cast(_UTC)


def _requests(asked: Sequence[bytes], key_counts: Sequence[int]) -> pl.Series:
    """For each answer a list: the values that the request brought for each key, as JSON."""
    rows: list[list[bytes | None]] = []
    for one, count in zip(asked, key_counts, strict=True):
        if one.endswith(_NO_VALUES):
            rows.append([None] * count)
            continue
        values = orjson.loads(one)["values"]
        of_keys = zip(*values.values(), strict=True)
        rows.append([orjson.dumps(dict(zip(values, row, strict=True))) for row in of_keys])
    return pl.Series("_request", rows, pl.List(pl.Binary())).cast(pl.List(pl.String()))


def _applied(notes: Notes, rows: pl.DataFrame) -> pl.Series:
    """For each row what its values rest on: by view the build, and the mark of the key's shard."""
    plan, count = notes.plan, rows.height
    marks = _marks(notes)
    key = ["answer", "slice", "view", "shard"]
    found = []
    for part in plan.parts:
        row, shards = _shards(plan.entities[part.entity], rows, notes.shards)
        wanted = pl.DataFrame(
            {
                "row": row,
                "answer": rows["_answer"].to_numpy()[row],
                "slice": rows["_row"].to_numpy()[row] // KEYS_AT_ONCE,
                "shard": shards,
            }
        ).with_columns(
            pl.lit(part.view).alias("view"),
            pl.lit(part.build, pl.Int64).alias("build"),
            pl.lit(part.fingerprint).alias("fingerprint"),
        )
        found.append(wanted.join(marks, on=key, how="left", maintain_order="left"))
    if not found:
        return pl.Series("_applied", [None] * count, _APPLIED_TYPE)
    names = [field.name for field in _APPLIED_TYPE.inner.fields]  # type: ignore[attr-defined]
    entries = pl.concat(found).group_by("row").agg(pl.struct(names).alias("_applied"))
    joined = pl.DataFrame({"row": np.arange(count)}).join(
        entries, on="row", how="left", maintain_order="left"
    )
    return joined["_applied"].cast(_APPLIED_TYPE)


def _marks(notes: Notes) -> pl.DataFrame:
    """The marks of all answers, by answer, slice, view and shard; each one's positions once."""
    by_id = {id(mark): mark for mark in notes.marks}
    number_of = {one: number for number, one in enumerate(by_id)}
    distinct = pl.DataFrame(
        [
            (
                None if mark is None else mark.incarnation,
                None if mark is None else mark.commit,
                None
                if mark is None
                else [{"partition": p, "offset": at} for p, at in sorted(mark.positions.items())],
            )
            for mark in by_id.values()
        ],
        schema={
            name: field.dtype
            for field in _APPLIED_TYPE.inner.fields  # type: ignore[attr-defined]
            if (name := field.name) in ("incarnation", "commit", "positions")
        },
        orient="row",
    )
    places = np.frombuffer(notes.places, np.int64).reshape(-1, len(Place._fields))
    of_marks = np.array([number_of[id(mark)] for mark in notes.marks], np.int64)
    return pl.DataFrame(
        {name: places[:, n] for n, name in enumerate(Place._fields)}
        | {"view": pl.Series(notes.views, dtype=pl.String)}
    ).hstack(distinct[of_marks])


def _shards(entity: KeyColumns, rows: pl.DataFrame, shards: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose key of an entity is whole, and the shard of each."""
    names = [name for name, _ in entity.columns]
    keys = rows.select(names).with_row_index("_place").drop_nulls()
    columns = [
        (keys[name].to_physical() if kind == "time" else keys[name]).to_arrow(
            compat_level=pl.CompatLevel.oldest()
        )
        for name, kind in entity.columns
    ]
    encoded = encode_keys(columns, [kind for _, kind in entity.columns])
    place = keys["_place"].to_numpy().astype(np.int64)
    return place, shards_of(hashes_of(encoded.to_pylist()), shards)
