"""Answers by hash of their key, and of each row of a spine the newest of them.

A row of a served log says what one request got for one key. It goes to a bucket as the spine's rows
do; in its bucket, a feature of a row of the spine is what the newest answer at or before the
instant said of it. An answer that says nothing of a feature is none of it, so a feature that came
to a service later, or left it, is looked for in the answers that have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ...state.keys import hashes_of
from ...state.served_columns import (
    from_logged,
    holder,
    holders,
    logged_type,
    status_column,
)
from .asked import Part
from .assemble import NOT_SERVED
from .buckets import SpineBuckets, spread
from .compute import Pairs, numbered
from .options import TRACE, Options
from .spine import encoded_keys
from .spool import Workspace

_OLDEST: Final = pl.CompatLevel.oldest()
_ORDER: Final = ("_served_us", "_service", "_writer", "_sequence", "_row")
"""Of answers of one µs, the last by these counts: the same one whichever file has it."""

_OWN: Final = ("_served", "_as_of", "_writer", "_sequence", "_row", "_version")
_EXTRAS: Final = {"request": "_request", "trace_id": "_trace_id"}
_INSTANT: Final = pl.Datetime("us", "UTC")
_NO_ROWS: Final = pl.DataFrame(
    schema={
        "_served": _INSTANT,
        "_writer": pl.String,
        "_sequence": pl.Int64,
        "_row": pl.Int64,
        "_version": pl.Int64,
    }
)


def columns_of(parts: Sequence[Part], options: Options) -> list[str]:
    """The columns of a log that are needed; keys and values may have a type after their name."""
    keys = [name for part in parts for name, _ in part.keys]
    features = [name for part in parts for name in part.columns]
    extras = [_EXTRAS[one] for one in options.extras if one in _EXTRAS]
    if options.trace is not None:
        extras.append("_trace_id")
    statuses = [status_column(name) for name in features]
    return list(dict.fromkeys([*_OWN, "_applied", *extras, *keys, *features, *statuses]))


@dataclass
class AnswerBuckets:
    """The answers for one entity's keys, as far as the spine may have them.

    `parts` are the entity's. `of_other_types` counts, by feature, answers that are left out because
    their value has a type that the feature has not.
    """

    workspace: Workspace
    spine: SpineBuckets
    parts: Sequence[Part]
    options: Options
    of_other_types: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.spools = [self.workspace.spool() for _ in range(self.spine.count)]

    def add(self, service: int, rows: pl.DataFrame) -> None:
        """Rows of a service's log, `service` being its number."""
        named = {}
        for name, type_ in self.parts[0].keys:
            column = holder(rows.schema, name, type_.polars)
            if column is None:
                return  # of a time when the service had other keys
            named[name] = column
        keys = encoded_keys(rows, self.parts[0].keys, named, None, 0)
        coded = keys.to_arrow(compat_level=_OLDEST).cast(pa.large_binary()).dictionary_encode()
        hashes = hashes_of(coded.dictionary.to_pylist())
        wanted = np.append(self.spine.keys.has(hashes), False)  # a null key is nobody's
        places = coded.indices.fill_null(len(hashes)).to_numpy()
        chosen = np.flatnonzero(wanted[places])
        if not len(chosen):
            return
        frame = self._frame(service, rows[chosen], keys.gather(chosen))
        buckets = (hashes % np.uint64(self.spine.count)).astype(np.int64)
        spread(frame, buckets[places[chosen]], self.spools)

    def _frame(self, service: int, rows: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
        columns = [
            keys.alias("_key"),
            rows["_served"].to_physical().alias("_served_us"),
            pl.Series("_service", np.full(rows.height, service, np.int64)),
            *rows.select("_writer", "_sequence", "_row", "_version").iter_columns(),
            *(
                rows[name] if name in rows.columns else _nulls(name, pl.String(), rows.height)
                for name in _EXTRAS.values()
                if name in columns_of(self.parts, self.options)
            ),
        ]
        for part in self.parts:
            columns.append(_definitions(rows, part.build.view))
            for name, feature in zip(part.columns, part.features, strict=True):
                values, statuses, other = _feature(rows, name, logged_type(feature.output))
                self.of_other_types[name] += other
                columns += [values, statuses]
        return pl.DataFrame(columns)

    def bucket(self, number: int) -> Bucket:
        """The spine's rows and the answers that are in one bucket."""
        rows = self.spine.rows(number)
        pairs, keys = numbered(rows)
        traces = [rows[TRACE]] if TRACE in rows.columns else []
        asked = pl.DataFrame([pl.Series("_code", pairs.key), pl.Series("_at_us", pairs.at_us)])
        asked = asked.with_columns(traces)
        nothing = self._frame(0, _NO_ROWS, pl.Series("_key", [], pl.Binary))
        return Bucket(pairs, asked, _coded([nothing, *self.spools[number].read()], keys))

    def drop(self, number: int) -> None:
        """Forget the answers of a bucket."""
        self.spools[number].drop()


def _coded(frames: Sequence[pl.DataFrame], keys: pa.Array) -> pl.DataFrame:
    """The answers of these keys in their order, with the numbers of their keys."""
    answers = pl.concat(frames)
    mine = answers["_key"].to_arrow(compat_level=_OLDEST).cast(pa.large_binary())
    codes = pl.Series("_code", pc.index_in(mine, value_set=keys)).cast(pl.Int64)
    # Without a number: other keys with the same bits in the filter.
    coded = answers.drop("_key").with_columns(codes).drop_nulls("_code").sort(_ORDER)
    return coded.with_row_index("_place")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows of a spine, and the answers for their keys in the order in which they were given.

    `asked` has for each of `pairs` the number of its key (−1: none), its instant, and its trace id
    if it is to be that of the answer.
    """

    pairs: Pairs
    asked: pl.DataFrame
    answers: pl.DataFrame
    _found: dict[bytes, pl.Series] = field(default_factory=dict)

    def newest(self, feature: str, max_age_us: int | None) -> pl.Series:
        """For each row the place of the newest answer that has the feature; null where none has.

        An answer at the instant counts, and one `max_age_us` before it. O((n + q) log n), once for
        all features that the same answers have.
        """
        has = self.answers[status_column(feature)].is_not_null()
        which = np.packbits(has.to_numpy()).tobytes()
        if which not in self._found:
            self._found[which] = self._newest(self.answers.filter(has), max_age_us)
        return self._found[which]

    def _newest(self, having: pl.DataFrame, max_age_us: int | None) -> pl.Series:
        by = [name for name in ("_code", TRACE) if name in self.asked.columns]
        found = (
            self.asked.with_row_index("_pair")
            .sort("_at_us")
            .join_asof(
                having.select("_place", "_served_us", *by),
                left_on="_at_us",
                right_on="_served_us",
                by=by,
                strategy="backward",
                tolerance=max_age_us,
                check_sortedness=False,  # both are sorted
            )
        )
        return found.sort("_pair")["_place"]


@dataclass
class Used:
    """What values were taken from: by service, its version, view and fingerprint.

    `age_us` adds up how long before their instants the answers were given.
    """

    values: Counter[tuple[int, int, str, str | None]] = field(default_factory=Counter)
    age_us: int = 0
    age_max_us: int = 0

    def add(self, other: Used) -> None:
        """Those of another bucket too."""
        self.values += other.values
        self.age_us += other.age_us
        self.age_max_us = max(self.age_max_us, other.age_max_us)

    def take(self, view: str, answers: pl.DataFrame, place: pl.Series, at_us: pl.Series) -> None:
        """Values of the answers at `place`, for rows of these instants."""
        kinds = ("_service", "_version", _print_of(view))
        counts = answers.select(pl.col(kinds).gather(place)).group_by(kinds).len()
        for service, version, fingerprint, count in counts.iter_rows():
            self.values[service, version, view, fingerprint] += count
        ages_us = (at_us - answers["_served_us"].gather(place)).to_numpy()
        self.age_us += int(ages_us.sum())
        self.age_max_us = max(self.age_max_us, int(ages_us.max(initial=0)))


def frame_of(part: Part, bucket: Bucket, options: Options, used: Used) -> pl.DataFrame:
    """The part's columns for every row of a bucket, with `_row` and statuses.

    Counts in `used` what they were taken from.
    """
    answers, at_us = bucket.answers, bucket.asked["_at_us"]
    columns = [pl.Series("_row", bucket.pairs.row)]
    for name, feature in zip(part.columns, part.features, strict=True):
        place = bucket.newest(name, options.max_age_us)
        there = place.is_not_null()
        used.take(part.build.view, answers, place.drop_nulls(), at_us.filter(there))
        columns.append(from_logged(answers[name].gather(place), feature.output))
        statuses = answers[status_column(name)].gather(place)
        columns.append(statuses.fill_null(NOT_SERVED).alias(f"{name}|status"))
        for extra in options.extras:
            if extra in _EXTRAS:
                columns.append(answers[_EXTRAS[extra]].gather(place).alias(f"{name}|{extra}"))
            elif extra == "served_at":
                served = answers["_served_us"].gather(place).cast(_INSTANT)
                columns.append(served.alias(f"{name}|served_at"))
    columns.append(pl.Series("_late", np.zeros(len(at_us), np.bool_)))
    return pl.DataFrame(columns)


def _print_of(view: str) -> str:
    """The column with the fingerprint of what answered for a view."""
    return f"_print|{view}"


def _definitions(rows: pl.DataFrame, view: str) -> pl.Series:
    """By row, the structural fingerprint of the build that answered for a view; null: none did."""
    name = _print_of(view)
    if "_applied" not in rows.columns:
        return _nulls(name, pl.String(), rows.height)
    of_view = pl.element().struct.field("view") == view
    entry = pl.col("_applied").list.filter(of_view).list.first()
    return rows.select(entry.struct.field("fingerprint").alias(name)).to_series()


def _feature(rows: pl.DataFrame, name: str, dtype: pl.DataType) -> tuple[pl.Series, pl.Series, int]:
    """Values, statuses (null: the answer says nothing of it), and how many are of another type."""
    column, status = holder(rows.schema, name, dtype), status_column(name)
    nothing = _nulls(name, dtype, rows.height)
    if status not in rows.columns:
        return nothing, _nulls(status, pl.String(), rows.height), 0
    values = nothing if column is None else rows[column].alias(name)
    statuses = rows[status]
    others = [one for one in holders(rows.schema, name) if one != column]
    if not others:
        return values, statuses, 0
    other = rows.select(pl.any_horizontal(pl.col(others).is_not_null())).to_series()
    other &= statuses.is_not_null()
    return values, statuses.set(other, None), int(other.sum())


def _nulls(name: str, dtype: pl.DataType, count: int) -> pl.Series:
    return pl.Series(name, [None], dtype=dtype).extend_constant(None, count)[1:]
