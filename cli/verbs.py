"""The verbs: what each takes, and its help. What they do is in modules of their own.

Those are imported when their verb runs, so that `tegula --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from .exits import OK

app: Final = typer.Typer(
    name="tegula",
    help="A streaming-first feature engine: events in once, right values everywhere.",
    epilog="`--debug`, anywhere, shows the traceback of an error. Exit codes: 0 done, 1 wrong "
    "definitions, settings or request, 2 wrong command line, 3 a port, broker, directory or "
    "server does not play along, 4 a fault of Tegula, 75 another worker ended, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)

Project = Annotated[
    Path | None,
    typer.Option("--project", "-p", help="The project's folder; else the one you are in."),
]
Json = Annotated[bool, typer.Option("--json", help="Data as JSON, for machines.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on.")]
Processes = Annotated[int | None, typer.Option(help="Server processes on the port.")]
Server = Annotated[str | None, typer.Option("--server", help="URL of a server elsewhere.")]
Author = Annotated[str | None, typer.Option(help="Who applies; else the user's name.")]
Message = Annotated[str, typer.Option("--message", "-m", help="What changes, and why.")]


Attached = Annotated[bool, typer.Option("--attached", hidden=True)]


def _end(code: int) -> None:
    if code != OK:
        raise typer.Exit(code)


@app.callback()
def _callback(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    # `main` takes the option from wherever it stands; here it is only declared, for the help.
    del debug


@app.command(rich_help_panel="A project")
def init(
    folder: Annotated[Path, typer.Argument(help="Where; made if it is missing.")] = Path(),
    json: Json = False,
) -> None:
    """Start a project: settings, an example that works, a test of it.

    Example: `tegula init shop && cd shop && tegula dev`
    """
    from .setup import init as run

    run(folder, json)


@app.command(rich_help_panel="A project")
def check(project: Project = None, json: Json = False) -> None:
    """Validate settings and definitions: every fault in one report, and recommendations.

    Example: `tegula check`
    """
    from .define import check as run

    _end(run(project, json))


@app.command(rich_help_panel="A project")
def plan(project: Project = None, json: Json = False) -> None:
    """Show what the definitions compile to, what applying would change, and what must be replayed.

    Example: `tegula plan --json | jq .items`
    """
    from .define import plan as run

    _end(run(project, json))


@app.command(rich_help_panel="A project")
def apply(
    project: Project = None, author: Author = None, message: Message = "", json: Json = False
) -> None:
    """Store the definitions as one new version; a running engine and servers take it up.

    Example: `tegula apply -m "merchants over 30 days"`
    """
    from .define import apply as run

    _end(run(project, author, message, json))


@app.command(rich_help_panel="Running")
def dev(
    project: Project = None,
    host: Host = None,
    port: Port = None,
    processes: Processes = None,
) -> None:
    """Apply the definitions, and run engine and servers together. Ctrl-C stops both.

    Example: `tegula dev --port 6181`
    """
    from .dev import dev as run

    _end(run(project, host=host, port=port, server_processes=processes))


@app.command(rich_help_panel="Running")
def run(
    project: Project = None,
    workers: Annotated[
        int | None, typer.Option(help="Engine processes that share the work, on this machine.")
    ] = None,
    worker: Annotated[
        int | None,
        typer.Option(help="Run one worker of several: its place in `--addresses`, from 0."),
    ] = None,
    addresses: Annotated[
        str | None,
        typer.Option(help="Where all workers reach each other: `host:port,host:port,…`."),
    ] = None,
    attached: Attached = False,
) -> None:
    """Run the engine alone, in the foreground: logs to state, online store and archive.

    Example: `tegula run --project /srv/shop --workers 2`
    """
    from .run import run as run_engine

    _end(run_engine(project, attached, workers=workers, worker=worker, addresses=addresses))


@app.command(rich_help_panel="Running")
def serve(
    project: Project = None,
    host: Host = None,
    port: Port = None,
    processes: Processes = None,
    attached: Attached = False,
) -> None:
    """Serve features and take events over HTTP; any number of processes on one port.

    Example: `tegula serve --processes 2`
    """
    from .serve import serve as run_server

    _end(run_server(project, attached, host=host, port=port, server_processes=processes))


@app.command(rich_help_panel="Data")
def push(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    file: Annotated[str, typer.Argument(help="Newline-delimited JSON; `-` reads stdin.")] = "-",
    project: Project = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Push events: over HTTP, or into the stream's log where no server runs.

    Example: `echo '{"card_id": "c1", "amount": 12.5, …}' | tegula push payments`
    """
    from .push import push as run

    _end(run(project, server, stream, file, json))


@app.command(rich_help_panel="Data")
def get(
    wanted: Annotated[
        list[str],
        typer.Argument(
            help="A service or `view:feature`s, then keys: `card_id=c1` or `card_id=c1,c2`.",
            metavar="SERVICE|VIEW:FEATURE… KEY=VALUE…",
        ),
    ],
    as_of: Annotated[str | None, typer.Option(help="An instant, as in 2024-05-01T12:00Z.")] = None,
    after: Annotated[str | None, typer.Option(help="A receipt to wait for.")] = None,
    project: Project = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Read features online, now or as of an instant.

    Example: `tegula get fraud card_id=c1,c2 --as-of 2024-05-01T12:00:00Z`
    """
    from .get import get as run

    _end(run(project, server, wanted, as_of, after, json))


@app.command(rich_help_panel="Operating")
def backfill(
    words: Annotated[
        list[str],
        typer.Argument(
            help="A view; before it `plan`, `rollback` or `retire` for these.",
            metavar="[plan|rollback|retire] VIEW",
        ),
    ],
    project: Project = None,
    json: Json = False,
) -> None:
    """Build a view anew from history beside the live one, and switch to it when it has caught up.

    Example: `tegula backfill spend`; back again: `tegula backfill rollback spend`
    """
    from .backfill import backfill as run

    _end(run(project, words, json))


@app.command(rich_help_panel="Operating")
def deadletter(
    words: Annotated[
        list[str],
        typer.Argument(
            help="What to do: list, show one, or drive again.",
            metavar="list [STREAM] | show STREAM PARTITION OFFSET | redrive STREAM",
        ),
    ],
    code: Annotated[str | None, typer.Option(help="Only those of this code.")] = None,
    partition: Annotated[str | None, typer.Option(help="Only those of this partition.")] = None,
    first: Annotated[int, typer.Option("--from", help="Only from this offset on.")] = 0,
    last: Annotated[int | None, typer.Option("--to", help="Only up to this offset.")] = None,
    expired: Annotated[
        str | None, typer.Option(help="Instead: events that this view found too old.")
    ] = None,
    mend: Annotated[
        str | None,
        typer.Option("--with", help="`module:function` from a record's bytes to the mended ones."),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many to list.")] = 20,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them, and no more.")] = False,
    project: Project = None,
    json: Json = False,
) -> None:
    """Records that did not count: list them, show one, drive them again when they are mended.

    Example: `tegula deadletter redrive payments --code TG-202 --with features.mend:as_number`
    """
    from .deadletter import Options
    from .deadletter import deadletter as run

    options = Options(code, partition, first, last, expired, mend, limit, dry_run)
    _end(run(project, words, options, json))


@app.command(rich_help_panel="Operating")
def checkpoint(
    words: Annotated[
        list[str],
        typer.Argument(
            help="`create`, `list`, or `verify` or `restore` and an id; without one the latest.",
            metavar="create|list|verify [ID]|restore [ID]",
        ),
    ],
    place: Annotated[
        str | None,
        typer.Option(
            "--to", "--from", help="A folder or s3://bucket/prefix; else `checkpoint_to`."
        ),
    ] = None,
    project: Project = None,
    json: Json = False,
) -> None:
    """Copy the state elsewhere while the engine runs, see and verify copies, restore one.

    Example: `tegula checkpoint create --to ../backup`; on an empty machine `tegula checkpoint
    restore latest --from ../backup`
    """
    from .checkpoint import checkpoint as run

    _end(run(project, words, place, json))


@app.command(rich_help_panel="Operating")
def maintain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is to do, and no more.")
    ] = False,
    project: Project = None,
    json: Json = False,
) -> None:
    """Merge small files of the lake, and delete what was merged; beside engine and readers.

    Example: `tegula maintain --dry-run`. The engine does it by itself: `maintain_interval_s`.
    """
    from .maintain import maintain as run

    _end(run(project, dry_run, json))


@app.command(rich_help_panel="Operating")
def state(
    words: Annotated[list[str], typer.Argument(help="What to do: `verify` it.", metavar="verify")],
    sample: Annotated[
        int, typer.Option(min=0, help="Keys of each build whose values are made anew; 0: none.")
    ] = 100,
    view: Annotated[str | None, typer.Option(help="Only values of this view.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="Instead of a sample: `card_id=c1,c2`, or a file, a JSON key a line."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The sample of a run before.")] = None,
    project: Project = None,
    json: Json = False,
) -> None:
    """Verify the state while no engine runs: checksums, rows, positions, and values against events.

    Example: `tegula state verify --sample 1000`; one key: `tegula state verify --key card_id=c1`
    """
    from .state import Options
    from .state import state as run

    _end(run(project, words, Options(sample, view, key or (), seed), json))


@app.command(rich_help_panel="Operating")
def parity(
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    since: Annotated[str, typer.Option(help="Served since then: `6h`, or an instant.")] = "1d",
    sample: Annotated[int | None, typer.Option(min=1, help="Served rows of each service.")] = None,
    seed: Annotated[int | None, typer.Option(help="The sample of a run before.")] = None,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
    project: Project = None,
    json: Json = False,
) -> None:
    """Hold what was served against history: recompute a sample, and say why values differ.

    Example: `tegula parity --service fraud --since 6h --sample 1000`
    """
    from .parity import Options
    from .parity import parity as run

    _end(run(project, Options(service, since, sample, seed, background), json))


@app.command(rich_help_panel="Operating")
def rebuild(
    view: Annotated[str, typer.Option(help="The view.")],
    keys: Annotated[
        list[str],
        typer.Option(help="`card_id=c1,c2`, or a file with a key as a JSON object a line."),
    ],
    project: Project = None,
    json: Json = False,
) -> None:
    """Make the state of some keys anew from their events, while no engine runs.

    Example: `tegula rebuild --view spend --keys card_id=c1,c2`
    """
    from .state import rebuild as run

    _end(run(project, view, keys, json))


@app.command(rich_help_panel="Operating")
def status(project: Project = None, json: Json = False) -> None:
    """Streams, lag, rates, outcomes, builds and stores, as the running engine reports them.

    Example: `tegula status --json | jq .streams`
    """
    from .status import status as run

    _end(run(project, json))


@app.command(rich_help_panel="A project")
def demo(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder for the project; else a temporary one.")
    ] = None,
    months: Annotated[int, typer.Option(min=1, max=12, help="Months of 2013 to run.")] = 12,
    json: Json = False,
) -> None:
    """Run a year of real flights through, and compare every value with DuckDB's recomputation.

    Example: `tegula demo` (wants the extra: `pip install 'tegula[demo]'`)
    """
    from .demo.run import demo as run

    _end(run(folder, months, json))
