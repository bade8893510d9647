"""What a case is translated into: definitions, arrivals, probes; and what it needs beyond them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

import tegula as tg
from tegula import agg
from tegula.schemas.definitions import Feature
from tegula.schemas.types import DataType

MS = 1_000
CENTURY_US = 36_525 * 86_400 * 1_000_000
AHEAD_US = 600 * 1_000_000
EVENT_TIME = "event_at"

Values = Mapping[str, Any]


class Needs(Exception):
    """A case asks for something that our windows or aggregates cannot say; the text names it."""


@dataclass(frozen=True)
class Reading:
    """How one value of a case is read from features of ours: `of` takes their values by name.

    Those in `beside` are of the second view of the experiment.
    """

    features: Mapping[str, Feature]
    of: Callable[[Values], Any]
    beside: Mapping[str, Feature] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of all that `of` takes."""
        return (*self.features, *self.beside)


@dataclass(frozen=True)
class Arrival:
    """One event as it arrives: its event time (None: it has none), and when it is appended."""

    at_us: int | None
    known_us: int
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Probe:
    """One expected value: after so many arrivals, of one key at one instant."""

    place: str
    name: str
    key: tuple[Any, ...]
    at_us: int
    after: int
    expected: Any


@dataclass
class Experiment:
    """One view over one stream (or two of them), what arrives, and what is read of it.

    `where`: which events the view takes; `beside`: which ones the second, if a reading needs it.

    `lateness_us`: the view's allowed lateness. `expired`: which arrivals must be refused as too
    late; none where nobody says. `of_history`: probes ask for what was at an instant, so that the
    rows may as well be imported.
    """

    columns: Mapping[str, DataType]
    keys: tuple[str, ...]
    arrivals: Sequence[Arrival]
    readings: Mapping[str, Reading]
    probes: Sequence[Probe] = ()
    where: pl.Expr | None = None
    beside: pl.Expr | None = None
    lateness_us: int | None = None
    expired: tuple[int, ...] = ()
    rel_tol: float = 1e-9
    abs_tol: float = 0.0
    of_history: bool = False

    def views(self) -> list[tg.FeatureView]:
        """The view, and the second one if a reading needs it."""
        stream = tg.Stream(
            "events",
            schema={**self.columns, EVENT_TIME: tg.Timestamp.of("us")},
            event_time=EVENT_TIME,
            ahead=f"{self._ahead_us()}us",
        )
        parts = [reading.features for reading in self.readings.values()]
        views = [self._view("case", stream, parts, self.where)]
        beside = [reading.beside for reading in self.readings.values()]
        if any(beside):
            views.append(self._view("beside", stream, beside, self.beside))
        return views

    def _view(
        self,
        name: str,
        stream: tg.Stream,
        parts: Sequence[Mapping[str, Feature]],
        where: pl.Expr | None,
    ) -> tg.FeatureView:
        """A view with a feature for everything that any reading takes of it.

        `instants` is read by nobody: an exact window makes the view keep every instant, so that
        reading in the past is exact to the µs also where all others are `lifetime`.
        """
        features = {
            "instants": agg.count().over(tg.sliding("1us", resolution="exact")),
            **{
                f"f{number}_{part}": feature
                for number, some in enumerate(parts)
                for part, feature in some.items()
            },
        }
        return tg.FeatureView(
            name,
            entity=tg.Entity("entity", keys={key: self.columns[key] for key in self.keys}),
            stream=stream,
            features=features,
            where=where,
            history=f"{self._history_us()}us",
            allowed_lateness=None if self.lateness_us is None else f"{self.lateness_us}us",
        )

    def features_of(self, name: str) -> dict[str, str]:
        """The parts of a reading, with the names of view and feature that give them."""
        number, reading = list(self.readings).index(name), self.readings[name]
        return {
            part: f"{'case' if part in reading.features else 'beside'}:f{number}_{part}"
            for part in reading.parts
        }

    def served_after(self, probe: Probe) -> int:
        """The most arrivals after which the probe's value still holds.

        A later arrival for another key, or dated after the probe's instant, does not change it.
        """
        for place in range(probe.after, len(self.arrivals)):
            arrival = self.arrivals[place]
            mine = tuple(arrival.row[key] for key in self.keys) == probe.key
            if mine and arrival.at_us is not None and arrival.at_us <= probe.at_us:
                return place
        return len(self.arrivals)

    def instants_us(self) -> Iterator[int]:
        for arrival in self.arrivals:
            yield arrival.known_us
            if arrival.at_us is not None:
                yield arrival.at_us
        for probe in self.probes:
            yield probe.at_us

    def _ahead_us(self) -> int:
        ahead = [a.at_us - a.known_us for a in self.arrivals if a.at_us is not None]
        return max([AHEAD_US, *ahead])

    def _history_us(self) -> int:
        """All of the case: nothing expires, and every instant of it can be read."""
        instants = list(self.instants_us()) or [0]
        span_us = max(instants) - min(instants) + 86_400_000_000
        if span_us > CENTURY_US:
            raise Needs("a history of more than 100 years")
        return span_us


@dataclass
class Translation:
    """What became of a case: experiments for what can be said, and what cannot."""

    experiments: list[Experiment] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)

    def need(self, what: str) -> None:
        """Note that something cannot be said; each need once."""
        if what not in self.needs:
            self.needs.append(what)


def only(given: Mapping[str, Any], known: str, what: str) -> None:
    """Raise `Needs` for a field that this runner does not know: ignoring it may change the rule."""
    for name in given:
        if name not in known.split():
            raise Needs(f"the meaning of the field {name!r} of {what}")


def with_text_keys(made: Experiment) -> Experiment:
    """The experiment with keys of type float sent as text beside, as our refusal of them advises.

    Equal numbers have one text: that of the number that they are, zero without its sign.
    """
    floats = {name: f"{name}_as_text" for name in made.keys if made.columns[name] == tg.Float64}
    if not floats:
        return made
    return replace(
        made,
        columns={**made.columns, **dict.fromkeys(floats.values(), tg.String)},
        keys=tuple(floats.get(name, name) for name in made.keys),
        arrivals=[
            replace(one, row={**one.row, **{to: _text(one.row[of]) for of, to in floats.items()}})
            for one in made.arrivals
        ],
        probes=[
            replace(
                probe,
                key=tuple(
                    _text(value) if name in floats else value
                    for name, value in zip(made.keys, probe.key, strict=True)
                ),
            )
            for probe in made.probes
        ],
    )


def _text(value: float | None) -> str | None:
    if value is None:
        return None
    if value != value:
        raise Needs("a key that is no number (NaN)")
    return repr(float(value) + 0.0)


def type_of(values: Sequence[Any], what: str) -> DataType:
    """The column type that holds these values."""
    present = [value for value in values if value is not None]
    for kinds, type_ in (
        ((bool,), tg.Bool),
        ((int,), tg.Int64),
        ((int, float), tg.Float64),
        ((str,), tg.String),
    ):
        if all(
            isinstance(value, kinds) and (type_ is tg.Bool or not isinstance(value, bool))
            for value in present
        ):
            return tg.String if not present else type_
    raise Needs(f"a type for the values of {what}")


def as_ms(value: Any, what: str) -> int:
    """A whole number of a case: an instant or a span in ms, or a count."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Needs(f"{what} that is {value!r} and not a whole number")
    return value


def rows_of(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a `{"columns": …, "rows": …}` table as mappings."""
    names = [one["name"] if isinstance(one, dict) else one for one in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


def in_order(rows: Sequence[Mapping[str, Any]], time: str) -> list[Arrival]:
    """Rows as arrivals in the order given, appended at the greatest event time seen so far."""
    arrivals: list[Arrival] = []
    known_us: int | None = None
    for row in rows:
        at_us = as_ms(row[time], f"an event time ({time})") * MS
        known_us = at_us if known_us is None else max(known_us, at_us)
        arrivals.append(Arrival(at_us, known_us, row))
    return arrivals


def seen_by(arrivals: Sequence[Arrival], at_us: int) -> int:
    """After how many arrivals everything dated up to an instant has come."""
    dated = [i for i, a in enumerate(arrivals) if a.at_us is not None and a.at_us <= at_us]
    return dated[-1] + 1 if dated else 0
