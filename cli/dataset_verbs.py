"""The verb `dataset`: what it takes, and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .verbs import Json, Project, _end, app


def _option(*flags: str, said: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*flags, help=said)
    return option


Words = Annotated[
    list[str],
    typer.Argument(
        help="What to do. A spine is a file, a Delta table, or with --connection a query; a set is "
        "a name from `list`, a folder or a manifest.",
        metavar="build SPINE | list | show SET | rebuild SET",
    ),
]
Features = Annotated[
    list[str] | None,
    _option("--features", "--service", said="A service, view or `view:feature`; repeat."),
]
Out = Annotated[Path | None, _option(said="The folder to write; else one of the project.")]
Replace = Annotated[bool, _option("--replace", said="Replace what is there.")]
Clock = Annotated[
    str,
    _option(
        said="`event`: what had happened counts; `known`: what was known; `served`: what serving "
        "had answered."
    ),
]
Landing = Annotated[
    str, _option(said="By `known`: so long after its log timestamp an event is known.")
]
ServedBy = Annotated[
    str | None, _option(said="By `served`: answers of this service alone, `fraud` or `fraud@1`.")
]
MaxAge = Annotated[
    str | None, _option(said="By `served`: the oldest that an answer may be at the instant.")
]
Trace = Annotated[
    str | None, _option(said="By `served`: the spine's column with the trace id of the answer.")
]
At = Annotated[str, _option(said="The spine's column of instants.")]
Keys = Annotated[
    list[str] | None, _option(said="`card_id=card`: the spine's `card` is the key; repeat.")
]
Labels = Annotated[
    list[str] | None,
    _option(said="`is_fraud=30d`: a column, or a feature, known so much later; repeat."),
]
Include = Annotated[
    list[str] | None,
    _option(said="More columns: status, event_time, bounds, request, trace; repeat."),
]
Zone = Annotated[str | None, _option(said="The zone of instants that name none.")]
Connection = Annotated[str | None, _option(said="A database's URL; the spine is a query then.")]
Memory = Annotated[int, typer.Option(min=1, help="MiB to keep in memory, about.")]
Cores = Annotated[int | None, typer.Option(min=1, help="Cores to use; else all.")]
Spine = Annotated[str | None, _option(said="Of `rebuild`: the spine, where it was in memory.")]


@app.command(rich_help_panel="Data")
def dataset(
    words: Words,
    features: Features = None,
    out: Out = None,
    replace: Replace = False,
    clock: Clock = "event",
    landing_delay: Landing = "0s",
    served_by: ServedBy = None,
    max_age: MaxAge = None,
    trace: Trace = None,
    at: At = "at",
    key: Keys = None,
    label: Labels = None,
    include: Include = None,
    time_zone: Zone = None,
    connection: Connection = None,
    memory: Memory = 1024,
    cores: Cores = None,
    spine: Spine = None,
    project: Project = None,
    json: Json = False,
) -> None:
    """Training sets: the features of many keys, each at its own instant of the past.

    Example: `tegula dataset build labels.parquet --features fraud --label is_fraud=30d`; later
    `tegula dataset rebuild labels`
    """
    from .dataset import Options
    from .dataset import dataset as run

    options = Options(
        features or (),
        out,
        replace,
        clock,
        landing_delay,
        served_by,
        max_age,
        trace,
        at,
        key or (),
        label or (),
        include or (),
        time_zone,
        connection,
        memory,
        cores,
        spine,
    )
    _end(run(project, words, options, json))
