"""The verb `dataset`: what it takes, and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .verbs import Json, Project, _end, app

Words = Annotated[
    list[str],
    typer.Argument(
        help="What to do. A spine is a file, a Delta table, or with --connection a query; a set is "
        "a name from `list`, a folder or a manifest.",
        metavar="build SPINE | list | show SET | rebuild SET",
    ),
]


@app.command(rich_help_panel="Data")
def dataset(
    words: Words,
    features: Annotated[
        list[str] | None,
        typer.Option("--features", "--service", help="A service, view or `view:feature`; repeat."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; else one of the project.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is there.")] = False,
    clock: Annotated[
        str, typer.Option(help="`event`: what had happened counts; `known`: what was known.")
    ] = "event",
    landing_delay: Annotated[
        str, typer.Option(help="By `known`: so long after its log timestamp an event is known.")
    ] = "0s",
    at: Annotated[str, typer.Option(help="The spine's column of instants.")] = "at",
    key: Annotated[
        list[str] | None,
        typer.Option(help="`card_id=card`: the spine's column `card` is the key; repeat."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="`is_fraud=30d`: a column, or a feature, known so much later; repeat."),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="More columns: status, event_time, bounds; repeat.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="The zone of instants that name none.")
    ] = None,
    connection: Annotated[
        str | None, typer.Option(help="A database's URL; the spine is a query then.")
    ] = None,
    memory: Annotated[int, typer.Option(min=1, help="MiB to keep in memory, about.")] = 1024,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores to use; else all.")] = None,
    spine: Annotated[
        str | None, typer.Option(help="Of `rebuild`: the spine, where it was in memory.")
    ] = None,
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
