"""The reference pages, made from the software itself.

    python docs/generate.py            write docs/reference/*.md anew
    python docs/generate.py --check    write nothing; name the pages that are out of date

What can be read from code (verbs, settings, codes, metrics, signatures, routes) is read from it,
so it cannot differ. What only a person can say, such as what to do about an error, stands
in `words.toml` beside this file, and what lacks its words there is an error here.
`tests/docs/test_reference.py` runs the check.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import tempfile
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final

import tegula
from tegula import agg, errors
from tegula.cli import exits
from tegula.docs.limits import limits
from tegula.docs.markdown import DOCS, WORDS, code, page, paragraphs, table
from tegula.docs.surfaces import commands, http, python
from tegula.engine.settings import ENVIRONMENT_PREFIX, Settings
from tegula.schemas import outcomes
from tegula.schemas.time import HOUR_US, MINUTE_US, format_duration, parse_duration
from tegula.schemas.types import TYPES, List, String
from tegula.serving.app import create_app
from tegula.state import archive, dead_letter
from tegula.windows.aggregates import AGGREGATES
from tegula.windows.ladder import automatic_resolution_us

REFERENCE: Final = DOCS / "reference"


# Settings.


def settings() -> str:
    """Every setting: its three names, type, default and meaning."""
    rows = []
    meanings = _attribute_docstrings(Settings)
    for name, field in Settings.model_fields.items():
        if name == "project":
            continue
        default = field.get_default(call_default_factory=True)
        shown = "" if default in (None, {}) else code(_plain(default))
        rows.append(
            (
                code(name),
                code(f"{ENVIRONMENT_PREFIX}{name.upper()}"),
                _type(field.annotation) + _bounds(field.metadata),
                shown,
                meanings[name],
            )
        )
    return page(
        "Settings",
        WORDS["settings"]["intro"],
        table(("setting", "environment", "type", "default", "meaning"), rows),
    )


def _attribute_docstrings(of: type) -> dict[str, str]:
    """The strings that stand under a class's fields.

    Pydantic can attach them too, for 25 ms at each start of each command.
    """
    (found,) = ast.parse(inspect.getsource(of)).body
    assert isinstance(found, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(found.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _plain(value: Any) -> str:
    return str(value) if not isinstance(value, bool) else str(value).lower()


def _type(annotation: Any) -> str:
    if isinstance(annotation, UnionType):
        members = [one for one in typing.get_args(annotation) if one is not NoneType]
        return " or ".join(map(_type, members))
    if typing.get_origin(annotation) is dict:
        return "table of text"
    names = {str: "text", int: "integer", float: "number", Path: "path", bool: "true/false"}
    return names[annotation]


def _bounds(metadata: Sequence[Any]) -> str:
    said = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{sign} {getattr(one, name)}" for one in metadata for name, sign in said.items()
             if hasattr(one, name)]  # fmt: skip
    return f", {', '.join(found)}" if found else ""


# Errors.


def error_codes() -> str:
    """Every code with its sentence, what to do, and how it travels."""
    classes = {one.code: one for one in _classes(errors.TegulaError)}
    parts = [WORDS["errors"]["intro"]]
    for digit, title in WORDS["error_groups"].items():
        rows = []
        for number, meaning in errors.all_codes().items():
            if number[3] != digit:
                continue
            cls = classes.get(number)
            rows.append(
                (
                    f"<a id=\"{number.lower()}\"></a>{code(number)}",
                    code(cls.__name__) if cls else "",
                    _sentence(WORDS["error_meanings"].get(number, meaning)),
                    _remedy(number),
                    str(cls.http_status) if cls else "",
                    ("yes" if cls.retryable else "") if cls else "",
                    str(exits.exit_code(_bare(cls))) if cls else "",
                )
            )  # fmt: skip
        header = ("code", "class", "meaning", "what to do", "HTTP", "again", "exit")
        shown = range(len(header)) if any(row[1] for row in rows) else (0, 2, 3)
        parts += [f"## {title}", table(_take(header, shown), [_take(r, shown) for r in rows])]
    return page("Errors", *parts)


def _take(row: Sequence[str], places: Iterable[int]) -> list[str]:
    return [row[place] for place in places]


def _classes(cls: type[errors.TegulaError]) -> Iterator[type[errors.TegulaError]]:
    yield cls
    for child in cls.__subclasses__():
        if child.__module__.startswith("tegula."):
            yield from _classes(child)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _remedy(number: str) -> str:
    """What to do, in our own words. Raises `KeyError` for a code that nobody has explained."""
    return str(WORDS["remedies"][number])


def _bare(cls: type[errors.TegulaError]) -> errors.TegulaError:
    return cls.__new__(cls)


# Outcomes, statuses and tables.


def records() -> str:
    """What becomes of a record and of a value, and the tables that records are kept in."""
    words = WORDS["records"]
    return page(
        "Outcomes, statuses, tables",
        "## Outcomes",
        words["outcomes"],
        table(("outcome", "meaning"), _members(outcomes.Outcome)),
        "## Statuses",
        words["statuses"],
        table(("status", "meaning"), _members(outcomes.Status)),
        "## The archive",
        words["archive"],
        _columns(archive.OWN_COLUMNS, WORDS["archive_columns"]),
        "## The dead letter",
        words["dead_letter"],
        _columns(dead_letter.COLUMNS, WORDS["dead_letter_columns"]),
    )


def _members(members: Any) -> Iterator[tuple[str, str]]:
    """Each member of an enumeration with the comment that stands beside it."""
    lines = inspect.getsource(members).splitlines()
    for one in members:
        line = next(line for line in lines if line.strip().startswith(f"{one.name} = "))
        yield code(one.name), line.partition("#")[2].strip()


def _columns(schema: Any, words: Mapping[str, str]) -> str:
    assert set(schema.names) == set(words), set(schema.names) ^ set(words)
    rows = [(code(one.name), str(one.type), words[one.name]) for one in schema]
    return table(("column", "type", "meaning"), rows)


# Metrics.

_REPORT: Final = {
    "at_us": 1,
    "events_per_second": 1.0,
    "streams": {"s": {"partitions": {"0": {"lag": 1, "running_max_us": 1}}}},
    "builds": {"1": {"view": "v", "outcomes": {"folded": 1}, "not_finite": {"x": 1}}},
    "commits": [1],
    "mirrored": [1],
    "mirror_lag": {"le_s": [1.0], "rows": [1, 1], "sum_s": 0.5},
}


def metrics() -> str:
    """Every family that `/metrics` shows, of the servers and of the engine."""
    with tempfile.TemporaryDirectory() as folder:
        server = _families(Path(folder))
        home = Path(folder, ".tegula")
        home.mkdir(exist_ok=True)
        home.joinpath("engine.json").write_text(json.dumps(_REPORT))
        both = _families(Path(folder))
    rows = {True: list[tuple[str, ...]](), False: list[tuple[str, ...]]()}
    for name, family in both.items():
        suffix = "_total" if family.type == "counter" else ""
        labels = dict.fromkeys(
            label for sample in family.samples for label in sample.labels if label != "le"
        )
        shown = (code(name + suffix), family.type, ", ".join(map(code, labels)))
        rows[name in server].append((*shown, family.documentation))
    header = ("metric", "type", "labels", "meaning")
    return page(
        "Metrics",
        WORDS["metrics"]["intro"],
        "## Of the servers",
        table(header, rows[True]),
        "## Of the engine",
        WORDS["metrics"]["engine"],
        table(header, rows[False]),
    )


def _families(project: Path) -> dict[str, Any]:
    found = Settings(project=project, in_file={})  # type: ignore[call-arg]
    serving = create_app(found, lambda: 0).state.serving
    return {family.name: family for family in serving.metrics.collect()}


# Aggregates and windows.


def aggregates() -> str:
    """Every aggregate: what it takes, what it gives, what it keeps."""
    names = {dtype.kind: name for name, dtype in TYPES.items()} | {"list": "List"}
    parts = [WORDS["aggregates"]["intro"]]
    rows = []
    for name, signature in agg.SIGNATURES.items():
        kinds = sorted(signature.kinds)
        rows.append(
            (
                f"[`{name}`](#{name})",
                ", ".join(names[kind] for kind in names if kind in signature.kinds)
                + (", or no input" if signature.optional else ""),
                _gives(signature),
                WORDS["aggregates"]["empty"][name],
                "; ".join(dict.fromkeys(_state(name, kind) for kind in kinds)),
            )
        )  # fmt: skip
    header = ("aggregate", "takes", "gives", "over nothing", "keeps a tile")
    parts.append(table(header, rows))
    for name in agg.SIGNATURES:
        function = getattr(agg, name)
        parts += [f"## {name}", f"```text\nagg.{name}{_signature(function)}\n```"]
        parts.append(paragraphs(function.__doc__))
        kept = paragraphs(AGGREGATES[name].__doc__).split("\n\n")[1:]
        parts += [part for part in kept if not part.startswith("```")]
    return page("Aggregates", *parts)


def _gives(signature: agg.Signature) -> str:
    """The type of the feature, by the type of its input."""
    of: dict[str, list[str]] = {}
    for dtype in (*TYPES.values(), List(String)):
        if dtype.kind in signature.kinds:
            of.setdefault(signature.output(dtype).name, []).append(dtype.name)
    if len(of) == 1:
        return next(iter(of))
    if all(inputs == [output] for output, inputs in of.items()):
        return "the input's type"
    return ", ".join(f"{output} of {' and '.join(inputs)}" for output, inputs in of.items())


def _state(name: str, kind: str) -> str:
    """Bytes of all states that the aggregate needs for an input of this kind."""
    second = agg.SIGNATURES[name].second
    kinds = kind if second is None else f"{kind},{min(second)}"
    kinds = "list[string]" if kind == "list" else kinds
    fields = [f for need in AGGREGATES[name].needs(kinds, {}) for f in need.monoid.fields]
    fixed = 8 * sum(one.dtype != "bytes" for one in fields)
    varying = any(one.dtype == "bytes" for one in fields)
    return (f"{fixed} bytes" if fixed else "") + (
        (" and " if fixed else "") + WORDS["aggregates"]["varying"][name] if varying else ""
    )


def windows() -> str:
    """Every window: its geometry and, for sliding ones, the resolutions that `auto` picks."""
    parts = [WORDS["windows"]["intro"]]
    by_time = ("sliding", "tumbling", "hopping", "series", "calendar", "lifetime")
    for name in (*by_time, "last", "since", "session"):
        function = getattr(tegula, name)
        parts += [f"## {name}", f"```text\n{name}{_signature(function)}\n```"]
        parts.append(paragraphs(function.__doc__))
        if name == "sliding":
            parts += [WORDS["windows"]["auto"], _auto()]
    return page("Windows", *parts)


def _auto() -> str:
    rows = []
    for text in ("10s", "1m", "10m", "30m", "1h", "2h", "6h", "24h", "7d", "30d", "90d", "365d"):
        length_us = parse_duration(text)
        step_us = automatic_resolution_us(length_us)
        # Second instants are the finest tiles; below a minute's worth of them auto means exact.
        share = 100 * (step_us - 1) / length_us if step_us > 1 else 0.0
        shown = "exact (1 µs)" if step_us == 1 else format_duration(step_us)
        rows.append((code(text), shown, f"{share:.1f} %"))
    assert automatic_resolution_us(HOUR_US) == MINUTE_US
    return table(("length", "older edge on", "too long by at most"), rows)


def _signature(function: Callable[..., Any]) -> str:
    return str(inspect.signature(function)).replace("'", "").replace("Input", "Expr | str")


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.md": commands,
    "settings.md": settings,
    "limits.md": limits,
    "errors.md": error_codes,
    "records.md": records,
    "metrics.md": metrics,
    "aggregates.md": aggregates,
    "windows.md": windows,
    "python.md": python,
    "http.md": http,
}


def outdated() -> dict[Path, str]:
    """The pages whose file differs from what the software says now, with the right text."""
    right = {REFERENCE / name: make() for name, make in PAGES.items()}
    return {
        path: text
        for path, text in right.items()
        if not path.exists() or path.read_text("utf-8") != text
    }


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with `--check` only name those that are out of date."""
    found = outdated()
    for path, text in found.items():
        sys.stdout.write(f"{path.relative_to(DOCS.parent)}\n")
        if "--check" not in arguments:
            path.write_text(text, "utf-8")
    return 1 if found and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
