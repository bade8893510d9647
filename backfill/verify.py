"""Verifying a state at rest: bytes, positions, counts, the online store's marks, and values.

Everything cheap is checked of everything; values are checked for a sample of keys, or for those
that are named: they are made anew from the archive and compared (`recompute`, `comparing`). Nothing
is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..engine.lake import lake_of
from ..engine.plan import Build
from ..state.archive_files import ArchiveFiles
from ..state.verifying import Kept, Scan, scan
from .at_rest import AtRest
from .history import History
from .online_rows import compare_online
from .positions import conservation, positions
from .report import Fault, Report, named
from .sample import Chosen, Sample
from .values import Progress, compare_values


def verify(
    home: AtRest,
    *,
    builds: Sequence[Build],
    sample: int,
    seed: int,
    keys: Mapping[int, Sequence[bytes]] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Verify a home that is held; `builds` are those whose values are compared.

    Of each, `sample` keys by their hash under `seed` (0: none), or the encoded `keys`. Raises what
    reading archive and log raises; what is wrong with the state is in the report.
    """
    report = Report(seed)
    taken = Sample(sample, seed)
    _rows(report, home, taken, progress)
    if home.closed:
        report.checks[-1].notes.append("nothing else is compared: a shard does not open")
        return report
    chosen = {
        one.id: taken.of(one.id) if keys is None else Chosen(frozenset(keys.get(one.id, ())))
        for one in builds
    }
    histories = {
        name: History(stream, home.settings, home.registry, home.shards)
        for name, stream in home.deployed.streams.items()
    }
    archived = _archive(report, home)
    _positions(report, home, histories)
    _counts(report, home)
    compare_online(report, home, builds, chosen)
    if not archived:
        report.checks[-1].notes.append("values are not compared: files of the archive are lost")
    elif sample or keys is not None:
        compare_values(report, home, histories, builds, chosen, progress)
    return report


def _rows(report: Report, home: AtRest, taken: Sample, progress: Progress) -> None:
    """Read every row of every shard: checksums first, then what the rows mean."""
    kept = {
        build.id: Kept(build.shape, [type_.kind for _, type_ in build.entity_keys])
        for build in home.deployed.builds
    }
    files = report.begin("checksums")
    for number, fault in home.closed:
        report.blame(Fault("checksums", f"the shard does not open: {fault.got}", number))
    scans: list[Scan] = []
    for shard in home.shards:
        progress("Reading shards", len(scans), home.shard_count)
        found = scan(shard, kept, home.shard_count, taken.offer)
        scans.append(found)
        files.counts["shards"] += 1
        files.counts["bytes"] += found.size_bytes
        for one in found.faults:
            if one.kind == "file":
                report.blame(Fault("checksums", one.detail, one.shard))
    rows = report.begin("rows")
    for found in scans:
        rows.counts.update(found.rows)
        of_rows = [one for one in found.faults if one.kind != "file"]
        for one in of_rows:
            build, key = named(home, one.build, one.key)
            view = None if build is None else build.view
            cause = f"{one.kind}: {one.detail}"
            report.blame(Fault("rows", cause, one.shard, one.build, view, key))
        rows.faults += found.fault_count - len(found.faults)


def _archive(report: Report, home: AtRest) -> bool:
    """Look for every file of the archive; whether all are there, as long as they were."""
    check = report.begin("archive")
    lake = lake_of(home.settings)
    for name, stream in home.deployed.streams.items():
        files = ArchiveFiles(lake, name, stream.schema)
        files.refresh()
        for span in [span for one in files.partitions() for span in files.spans(one, 0)]:
            check.counts["files"] += 1
            check.counts["bytes"] += span.size_bytes
            fault = span.fault()
            if fault is not None:
                cause = f"{fault.got}: {fault.expected}, in {fault.where} ({fault.code})"
                report.blame(Fault("archive", cause))
    return not check.faults


def _positions(report: Report, home: AtRest, histories: Mapping[str, History]) -> None:
    check = report.begin("positions")
    live = [build for build, status in home.deployed.statuses.items() if status == "live"]
    for name, history in histories.items():
        builds = [build for build in home.deployed.builds if build.stream == name]
        check.counts["streams"] += 1
        check.counts["partitions"] += len(history.bounds)
        if history.log_fault is not None:
            said = history.log_fault
            check.notes.append(
                f"the log of stream {name!r} does not answer ({said.code}: {said.message}): only "
                "the archive was compared"
            )
        for odd in positions(history, builds, live, home.shards):
            report.odd(home, odd)


def _counts(report: Report, home: AtRest) -> None:
    check = report.begin("counters")
    for added, odd in conservation(home.deployed.builds, home.shards):
        check.counts["partitions of builds"] += added
        if not added:
            check.counts["at different positions"] += 1
        if odd.cause:
            report.odd(home, odd)
