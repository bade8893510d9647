"""The verbs that bring history in: what each takes, and its help (see `verbs.py`)."""

from __future__ import annotations

from typing import Annotated

import typer

from .verbs import Json, Project, _end, app


@app.command("import", rich_help_panel="Data")
def import_(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    source: Annotated[
        str | None,
        typer.Argument(
            help="A path, glob or URL of Parquet, CSV or JSON lines, or a Delta table; with "
            "`--query` a DuckDB database, or nothing."
        ),
    ] = None,
    query: Annotated[str | None, typer.Option(help="Rows by SQL, run by DuckDB.")] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="`column=source_column`, where names differ; may be repeated."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="How this import is known again; else after the source.")
    ] = None,
    landing_delay: Annotated[
        str, typer.Option(help="How long after its event time a row was known.")
    ] = "0s",
    since: Annotated[str | None, typer.Option(help="Leave out rows before this instant.")] = None,
    until: Annotated[str | None, typer.Option(help="Leave out rows from this instant on.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and judge all rows, and no more.")
    ] = False,
    project: Project = None,
    json: Json = False,
) -> None:
    """Import history into a stream, once: stopped anywhere, the same command goes on.

    Example: `tegula import payments 'history/*.parquet' --map amount=paid_eur`
    """
    from .imports import Options
    from .imports import import_ as run

    options = Options(query, maps or (), name, landing_delay, since, until, dry_run)
    _end(run(project, stream, source, options, json))


@app.command(rich_help_panel="Data")
def materialize(
    table: Annotated[str, typer.Argument(help="The table.")],
    source: Annotated[
        str | None,
        typer.Argument(help="As `tegula import` takes it: files, a Delta table, or a database."),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(help="Rows by SQL, run by DuckDB; `$since` in it is what is there already."),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="`column=source_column`, where names differ; may be repeated."),
    ] = None,
    landing_delay: Annotated[
        str, typer.Option(help="How long after its validity time a row was known.")
    ] = "0s",
    since: Annotated[str | None, typer.Option(help="Leave out rows before this instant.")] = None,
    project: Project = None,
    json: Json = False,
) -> None:
    """Bring rows of a table that are new or have changed; the same again brings nothing.

    Example: `tegula materialize shop_daily warehouse/shop_daily/`
    """
    from .imports import Options
    from .materialize import materialize as run

    options = Options(query, maps or (), None, landing_delay, since)
    _end(run(project, table, source, options, json))
