"""The page of limits: every bound with its value from the code, and what one meets past it.

A limit names the code or the status that it is refused with, or the test that shows what happens
instead; `tests/docs/test_limits.py` sees that these are there, and that no setting which is a bound
is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tegula import errors
from tegula.cli.children import STOP_WITHIN_S
from tegula.connectors.local_reader import _BATCH_BYTES_MAX
from tegula.docs.markdown import WORDS, code, page, table
from tegula.engine import disk
from tegula.engine.runtime import ending, feeds, mirroring, pacing
from tegula.engine.settings import Settings
from tegula.schemas.outcomes import Status
from tegula.schemas.signatures import COLUMNS_MAX
from tegula.schemas.time import CENTURY_US, DAY_US
from tegula.schemas.validation.ordered import ROWS_MAX
from tegula.schemas.windows import SERIES_MAX
from tegula.serving.protocol import Limits
from tegula.state import outbox
from tegula.state.database import BUFFERS_MAX
from tegula.state.online.lmdb import MAP_BYTES
from tegula.windows.aggregates import distinct, drawdowns, frequent, lists
from tegula.windows.categories import CATEGORIES_MAX


class Limit(NamedTuple):
    """What is bounded, by how much, by which setting if any, and what happens past it.

    `then` names codes and statuses; where it names none, `test` is the test that shows it.
    """

    what: str
    bound: str
    then: str
    setting: str = ""
    test: str = ""


def bytes_text(size: int) -> str:
    """A size in the largest unit that divides it.

    >>> bytes_text(1 << 20), bytes_text(3 << 30), bytes_text(1000)
    ('1 MiB', '3 GiB', '1000 bytes')
    """
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


def count_text(count: int) -> str:
    """A count with its thousands apart.

    >>> count_text(100_000)
    '100 000'
    """
    return f"{count:,}".replace(",", " ")


def _set(name: str) -> str:
    value = Settings.model_fields[name].default
    return bytes_text(value) if "bytes" in name else count_text(value)


def _of(what: str, setting: str, then: str, test: str = "") -> Limit:
    return Limit(what, _set(setting), then, setting, test)


GROUPS: Final[Mapping[str, Sequence[Limit]]] = {
    "Events that come in": (
        _of("one record", "record_bytes_max", "`TG-207`, dead-lettered"),
        _of("the body of a request", "request_bytes_max", "`TG-407`, HTTP 413"),
        _of("events in one push", "events_max", "`TG-407`, HTTP 413"),
        _of(
            "bytes of all pushes that wait for one stream's log, in each server process",
            "push_waiting_bytes_max",
            "`TG-409`, HTTP 503, to be sent again",
        ),
        Limit(
            "space that is to stay free on each disk of the home",
            f"{bytes_text(disk.LEAST_BYTES_MAX)}, or 2 % of a smaller disk",
            "pushes: `TG-306`, HTTP 507, to be sent again; the engine holds, `TG-508`",
            "disk_free_min_bytes",
        ),
        Limit("an event time ahead of its log timestamp", "10m, or the stream's", "`TG-209`"),
        Limit("an event time", "the years 1 to 9999", "`TG-210`"),
        Limit(
            "partitions of an embedded log",
            "4",
            "not to be changed; events of one key share one",
            test="test_a_log_keeps_the_partitions_that_it_was_made_with",
        ),
        Limit(
            "a key",
            "as long as its record",
            "long keys are stored under a digest",
            test="test_keys_of_any_length_are_kept_apart",
        ),
    ),
    "Requests for features": (
        _of("keys in one request", "keys_max", "`TG-407`, HTTP 413"),
        _of("names of features in one request", "features_max", "`TG-407`, HTTP 413"),
        _of(
            "answers that wait for the served log, in each server process",
            "served_buffer_bytes",
            "answered, not kept, and counted",
            "test_answers_past_the_bound_are_not_kept_and_are_counted",
        ),
        _of("values in one answer, keys times features", "values_max", "`TG-407`, HTTP 413"),
        Limit(
            "waiting for a receipt (`after`)",
            f"{Limits().wait_us // 1_000_000} s",
            "`TG-408`, HTTP 503, to be sent again",
        ),
    ),
    "Training sets": (
        _of("made at a time for requests over HTTP", "datasets_max", "`TG-425`, or `TG-424` if 0"),
        _of(
            "memory of each of these, about",
            "dataset_memory_bytes",
            "rows and events go to files",
            "test_frames_come_back_in_order",
        ),
        Limit("keys and rows of `features_in_range`", "10 000 and 10 000 000", "`TG-421`"),
    ),
    "Definitions": (
        Limit("a name", "64 characters", "`TG-101`"),
        Limit("a span of time", f"{CENTURY_US // DAY_US} days", "`TG-106`"),
        Limit("windows of a series", count_text(SERIES_MAX), "`TG-111`"),
        Limit("events of `last(n)`, with those skipped", count_text(ROWS_MAX), "`TG-116`"),
        Limit("columns that one aggregate reads", f"2 to {COLUMNS_MAX}", "`TG-104`"),
        Limit("elements of a list that is a value (`n=`)", count_text(lists.COUNT_MAX), "`TG-116`"),
        Limit("shards", "1 to 4 096, for good", "`TG-601`, `TG-513`", "shards"),
    ),
    "What one key may hold": (
        Limit("an integer that is a value", "64 bits", "status `OVERFLOW`"),
        Limit(
            "different categories of `by=` in a tile or window",
            count_text(CATEGORIES_MAX),
            "status `OVERFLOW`",
        ),
        Limit(
            "different values of `distinct` and `union`",
            count_text(distinct.EXACT_MAX),
            "status `OVERFLOW`",
        ),
        Limit(
            "values that `approx_top_k` counts",
            count_text(frequent.KEPT_MAX),
            "counts are estimates then, within their bound",
            test="test_many_values_are_counted_within_the_bound",
        ),
        Limit(
            "runs that a drawdown keeps exactly",
            count_text(drawdowns.EXACT_MAX),
            "coarser then, within its bound",
            test="test_fall_of_many_values_is_within_a_share_of_their_range",
        ),
    ),
    "Memory and disk of the engine": (
        Limit(
            "a batch of one stream",
            f"{count_text(feeds.ROWS_MAX)} records, {bytes_text(_BATCH_BYTES_MAX)}",
            "a few batches are read ahead, then reading waits",
            test="test_closing_ends_a_thread_that_has_read_as_far_ahead_as_it_may",
        ),
        Limit(
            "what gathers for one commit",
            f"{count_text(pacing.COMMIT_ROWS_MAX)} events, "
            f"{bytes_text(pacing.COMMIT_BYTES_MAX)} of tiles",
            "it is committed",
            test="test_commit_comes_early_where_states_are_large",
        ),
        _of(
            "writes of the state that are not in files yet",
            "state_memory_bytes",
            f"they are written; a shard with {BUFFERS_MAX} times 16 MiB of them waits for the disk",
            "test_memory_for_writes_is_one_budget_over_all_shards",
        ),
        _of(
            "events that wait for the archive, each stream",
            "archive_buffer_bytes",
            "the engine takes no more of the stream",
            "test_writer_holds_the_source_back_only_past_its_bound",
        ),
        _of(
            "a file of the lake, merged of small ones",
            "maintain_file_bytes",
            "the next one is begun",
            "test_runs_are_about_as_large_as_wanted",
        ),
        Limit(
            "commits that wait in memory for the online store",
            bytes_text(mirroring.WAITING_BYTES_MAX),
            "what they touched is read from the state later",
            test="test_what_folds_hand_over_counts_by_its_bytes_not_by_its_keys",
        ),
        Limit(
            "keys that wait in the outbox, each shard",
            count_text(outbox.KEYS_MAX),
            "all rows are written anew; `tegula status` says so",
            test="test_outbox_keeps_its_rows_up_to_the_bound_and_drops_all_of_them_past_it",
        ),
        Limit("the embedded online store, each shard", bytes_text(MAP_BYTES), "`TG-703`"),
        Limit(
            "a stop, from the signal to the end",
            f"{ending.LAST_S:g} s; under `tegula dev` {STOP_WITHIN_S:g} s",
            "what is left is done by the next engine",
            test="test_stop_does_not_wait_for_an_online_store_that_is_slow",
        ),
    ),
}


def limits() -> str:
    """The page."""
    parts = [WORDS["limits"]["intro"]]
    for title, group in GROUPS.items():
        rows = [
            (one.what, one.bound, code(one.setting) if one.setting else "", one.then)
            for one in group
        ]
        parts += [f"## {title}", table(("what", "at most", "setting", "past it"), rows)]
    return page("Limits", *parts)


def named(limit: Limit) -> set[str]:
    """The codes and statuses that stand in what happens past a limit."""
    return set(re.findall(r"`(TG-\d{3}|[A-Z_]+)`", limit.then))


def unknown(names: set[str]) -> set[str]:
    """Those that are neither a code nor a status."""
    return names - errors.all_codes().keys() - {status.name for status in Status}
