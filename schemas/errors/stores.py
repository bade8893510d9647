"""3xx: logs. 5xx: the engine's own state. 7xx: stores that copies of committed data go to."""

from __future__ import annotations

from .base import TegulaError


class SourceError(TegulaError):
    """A log could not be read or written."""

    code = "TG-300"
    http_status = 503


class BrokerUnreachable(SourceError):
    """No Kafka broker answers."""

    code = "TG-301"
    retryable = True

    def __init__(self, *, bootstrap: str, detail: str = "") -> None:
        super().__init__(
            "no Kafka broker answers",
            where=f"bootstrap {bootstrap}",
            got=detail,
            hint="start the broker, or correct `kafka.bootstrap` in tegula.toml",
        )


class TopicMissing(SourceError):
    """The topic does not exist."""

    code = "TG-302"

    def __init__(self, *, topic: str, bootstrap: str) -> None:
        super().__init__(
            f"the topic {topic!r} does not exist",
            where=f"bootstrap {bootstrap}",
            hint=f"create the topic {topic!r}, or correct the stream's source",
        )


class LogRecreated(SourceError):
    """The log under this name is another one than the log that was read before."""

    code = "TG-303"

    def __init__(self, *, stream: str, got_identity: str, expected_identity: str) -> None:
        super().__init__(
            "the log was deleted and made anew; its offsets mean other events now",
            where=f"stream {stream!r}",
            got=f"log {got_identity}",
            expected=f"log {expected_identity}",
            hint="bring the old log back, or begin anew in another home: old positions mean nothing"
            " in the new log",
        )


class LogTruncated(SourceError):
    """Events between the applied position and the log's first offset are gone from the log."""

    code = "TG-304"

    def __init__(
        self, *, stream: str, partition: str, first_offset: int, wanted_offset: int
    ) -> None:
        super().__init__(
            "the log no longer holds the next event to be read",
            where=f"stream {stream!r}, partition {partition}",
            got=f"first offset {first_offset}",
            expected=f"offset {wanted_offset}",
            hint="read the missing events from the archive with `tegula backfill`",
        )


class LogShrunk(SourceError):
    """The log ends before a position that was applied already."""

    code = "TG-305"

    def __init__(
        self, *, stream: str, partition: str, end_offset: int, applied_offset: int
    ) -> None:
        super().__init__(
            "the log ends before an offset that was applied already",
            where=f"stream {stream!r}, partition {partition}",
            got=f"end offset {end_offset}",
            expected=f"more than {applied_offset}",
            hint="bring the whole log back; if it is lost, begin anew in another home",
        )


class LogFull(SourceError):
    """The embedded log takes no events for want of space; none of these was kept."""

    code = "TG-306"
    http_status = 507
    retryable = True

    def __init__(self, *, where: str, got: str, expected: str = "") -> None:
        super().__init__(
            "the disk of the log has no room for more events",
            where=where,
            got=got,
            expected=expected,
            hint="free some space, then send them again; nothing was half written",
        )


class StateError(TegulaError):
    """The engine's own durable state cannot be used."""

    code = "TG-500"


class StateHeld(StateError):
    """Another engine process owns the directory."""

    code = "TG-501"

    def __init__(self, *, directory: str, holder: str = "") -> None:
        super().__init__(
            "another engine holds this directory",
            where=directory,
            got=f"held by {holder}" if holder else "",
            hint="stop the other engine, or give this one a directory of its own",
        )


class WorkerLost(StateError):
    """Another worker of the same engine has ended, and with it the exchange between them."""

    code = "TG-530"
    retryable = True

    def __init__(self, *, worker: int, workers: int) -> None:
        super().__init__(
            "another worker of this engine has ended",
            where=f"worker {worker} of {workers}",
            expected="all workers running",
            hint="start all workers again; nothing that was accepted is lost",
        )


class FormatUnknown(StateError):
    """Stored bytes of a format or version that this version cannot read."""

    code = "TG-502"

    def __init__(self, *, where: str, got: str, expected: str) -> None:
        super().__init__(
            "these stored bytes have a format that this version does not know",
            where=where,
            got=got,
            expected=expected,
            hint="open them with the version of Tegula that wrote them, or a newer one",
        )


class FingerprintMismatch(StateError):
    """State that was built for another definition."""

    code = "TG-503"

    def __init__(self, *, view: str, got: str, expected: str) -> None:
        super().__init__(
            "the state was built for another definition of this view",
            where=f"view {view!r}",
            got=f"fingerprint {got}",
            expected=f"fingerprint {expected}",
            hint=f"`tegula backfill {view}` builds the new definition beside the old one",
        )


class StateCorrupt(StateError):
    """Stored bytes that contradict their own checksum or header."""

    code = "TG-504"

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "stored bytes are damaged",
            where=where,
            got=detail,
            hint="restore a checkpoint, or rebuild the view from the archive",
        )


class CheckpointMissing(StateError):
    """There is no whole checkpoint of that id at the place."""

    code = "TG-505"
    http_status = 404

    def __init__(self, *, where: str, got: str, expected: str = "") -> None:
        super().__init__(
            "there is no such checkpoint",
            where=where,
            got=got,
            expected=expected,
            hint="`tegula checkpoint list` shows those that are whole; one that was interrupted"
            " has no manifest",
        )


class CheckpointDamaged(StateError):
    """A checkpoint's manifest or file is gone, or differs from what was written."""

    code = "TG-506"

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "this part of a checkpoint is damaged",
            where=where,
            got=detail,
            hint="restore another one; files are shared, so verify that first",
        )


class HomeNotEmpty(StateError):
    """A restore would replace what is in the home."""

    code = "TG-507"
    http_status = 409

    def __init__(self, *, where: str) -> None:
        super().__init__(
            "a checkpoint is restored into a home without state",
            where=where,
            got="something that may still be wanted",
            hint="stop the engine and the servers, and move it away; `log/` and `lake/` may stay",
        )


class DiskFull(StateError):
    """A disk under the home is full, or nearly; the engine takes no more events until it is not."""

    code = "TG-508"
    http_status = 507
    retryable = True

    def __init__(self, *, where: str, got: str, expected: str = "") -> None:
        super().__init__(
            "a disk under the home has no room for more",
            where=where,
            got=got,
            expected=expected,
            hint="free some space; the engine goes on by itself, and what was accepted is kept",
        )


class HistoryIncomplete(StateError):
    """Events that count are in neither archive nor log, so nothing can be made anew from them."""

    code = "TG-509"
    http_status = 409

    def __init__(self, *, where: str, got: str) -> None:
        super().__init__(
            "not all events that count are in the archive and the log any more",
            where=where,
            got=got,
            expected="every record that was read, or that windows still reach",
            hint="restore a checkpoint, or bring archive and log back; nothing was changed",
        )


class SinkError(TegulaError):
    """A store that copies of committed data go to cannot be written."""

    code = "TG-701"
    http_status = 503
    retryable = True


class OnlineStoreFull(SinkError):
    """The online store refused a write for want of space; the mirror stops there, visibly."""

    code = "TG-703"

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "the online store could not take a write",
            where=where,
            got=detail,
            hint="free some space; the mirror goes on by itself",
        )


class CheckpointStoreFault(SinkError):
    """The place of the checkpoints cannot be read or written."""

    code = "TG-704"

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "the place of the checkpoints cannot be read or written",
            where=where,
            got=detail,
            hint="free space, or correct `checkpoint_to`; the next one is tried by itself",
        )


class CheckpointPlaceTaken(SinkError):
    """Another home writes its checkpoints to this place."""

    code = "TG-705"
    http_status = 409
    retryable = False

    def __init__(self, *, where: str, detail: str) -> None:
        super().__init__(
            "the checkpoints at this place are of another home",
            where=where,
            got=detail,
            hint="give each home a place of its own in `checkpoint_to`; or stop the other one",
        )
