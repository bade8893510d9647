"""The one error tree.

Every error that leaves Tegula is a `TegulaError`: a stable code, one sentence, and the fields
`where`, `got`, `expected`, `hint`. It reads the same on a terminal, in a log and over HTTP:

    TG-103 at view 'spend': there is no column 'amout'. Got 'amout', expected one of …. Hint: …

Codes are grouped by hundreds: 1xx definitions, 2xx records (strings, see `RecordCode`), 3xx
sources, 4xx requests, 5xx state, 6xx settings, 7xx sinks. A code is never reused or renumbered.

Promise: `str(error)` has no newline but in a report of several faults, and never holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..outcomes import RecordCode
from .base import TegulaError, one_of, shown
from .datasets import (
    BadDataset,
    BadSpine,
    DatasetExists,
    DatasetMissing,
    DatasetsBusy,
    DatasetsOff,
    NothingServed,
)
from .definitions import (
    BadDefault,
    BadDuration,
    BadEventTime,
    BadKey,
    BadName,
    BadParameter,
    BadSource,
    BadType,
    BadWindow,
    ChangedStream,
    DefinitionErrors,
    DefinitionFault,
    DuplicateName,
    MixedUp,
    NotAFeature,
    NotAnAggregate,
    NotBoolean,
    NotSeparable,
    UnknownColumn,
    UnknownReference,
    UnsupportedExpression,
    UnsupportedInput,
)
from .online import OnlineStoreChanged, OnlineStoreEvicts, OnlineStoreUnreachable
from .registry import (
    BackfillRunning,
    NothingApplied,
    RegistryError,
    RegistryMissing,
    RegistryUnreachable,
    ShardsFixed,
    UnknownBuild,
    UnknownView,
    WrongBuildStatus,
)
from .requests import (
    BadRequest,
    Busy,
    ImportChanged,
    ImportRunning,
    MissingKey,
    NotReady,
    RequestError,
    TooLarge,
    UnknownFeature,
    UnknownService,
    UnknownStream,
    WrongKeyType,
)
from .settings import (
    DefinitionsUnloadable,
    OwnAggregateChanged,
    OwnAggregateFailed,
    OwnAggregateMissing,
    PortInUse,
    ProjectMissing,
    SettingsError,
)
from .stores import (
    BrokerUnreachable,
    CheckpointDamaged,
    CheckpointMissing,
    CheckpointPlaceTaken,
    CheckpointStoreFault,
    DiskFull,
    FingerprintMismatch,
    FormatUnknown,
    HistoryIncomplete,
    HomeNotEmpty,
    LogFull,
    LogRecreated,
    LogShrunk,
    LogTruncated,
    OnlineStoreFull,
    SinkError,
    SourceError,
    StateCorrupt,
    StateError,
    StateHeld,
    TopicMissing,
    WorkerLost,
)
from .tables import (
    MaintenanceRunning,
    TableDamaged,
    TableFileLost,
    TableLost,
    TableMismatch,
    TableUnwritable,
)

__all__ = [
    "BackfillRunning",
    "BadDataset",
    "BadDefault",
    "BadDuration",
    "BadEventTime",
    "BadKey",
    "BadName",
    "BadParameter",
    "BadRequest",
    "BadSource",
    "BadSpine",
    "BadType",
    "BadWindow",
    "BrokerUnreachable",
    "Busy",
    "ChangedStream",
    "CheckpointDamaged",
    "CheckpointMissing",
    "CheckpointPlaceTaken",
    "CheckpointStoreFault",
    "DatasetExists",
    "DatasetMissing",
    "DatasetsBusy",
    "DatasetsOff",
    "DefinitionErrors",
    "DefinitionFault",
    "DefinitionsUnloadable",
    "DiskFull",
    "DuplicateName",
    "FingerprintMismatch",
    "FormatUnknown",
    "HistoryIncomplete",
    "HomeNotEmpty",
    "ImportChanged",
    "ImportRunning",
    "LogFull",
    "LogRecreated",
    "LogShrunk",
    "LogTruncated",
    "MaintenanceRunning",
    "MissingKey",
    "MixedUp",
    "NotAFeature",
    "NotAnAggregate",
    "NotBoolean",
    "NotReady",
    "NotSeparable",
    "NothingApplied",
    "NothingServed",
    "OnlineStoreChanged",
    "OnlineStoreEvicts",
    "OnlineStoreFull",
    "OnlineStoreUnreachable",
    "OwnAggregateChanged",
    "OwnAggregateFailed",
    "OwnAggregateMissing",
    "PortInUse",
    "ProjectMissing",
    "RegistryError",
    "RegistryMissing",
    "RegistryUnreachable",
    "RequestError",
    "SettingsError",
    "ShardsFixed",
    "SinkError",
    "SourceError",
    "StateCorrupt",
    "StateError",
    "StateHeld",
    "TableDamaged",
    "TableFileLost",
    "TableLost",
    "TableMismatch",
    "TableUnwritable",
    "TegulaError",
    "TooLarge",
    "TopicMissing",
    "UnknownBuild",
    "UnknownColumn",
    "UnknownFeature",
    "UnknownReference",
    "UnknownService",
    "UnknownStream",
    "UnknownView",
    "UnsupportedExpression",
    "UnsupportedInput",
    "WorkerLost",
    "WrongBuildStatus",
    "WrongKeyType",
    "all_codes",
    "one_of",
    "shown",
]


def all_codes() -> dict[str, str]:
    """Every code with the first line of its meaning, in order: the error reference, as data."""
    meanings = {cls.code: (cls.__doc__ or "").partition("\n")[0] for cls in _tree(TegulaError)}
    meanings |= {str(code): code.meaning for code in RecordCode}
    return dict(sorted(meanings.items()))


def _tree(cls: type[TegulaError]) -> Iterator[type[TegulaError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)
