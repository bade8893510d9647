"""A Delta table that is not ours, as a set of files to read: one version of it, pinned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from ..schemas.errors import BadRequest
from .object_store import delta_options


def delta_files(place: str, options: Mapping[str, str]) -> tuple[Any, int]:
    """The table at `place` as a data set of Arrow, in its newest version, and that version.

    `options` are those of its object store, as settings give them; none for a local folder. Columns
    by which it is partitioned are columns of the data set. Raises `BadRequest` for what is no
    table, or one with features that the library does not read (deletion vectors).
    """
    try:
        table = DeltaTable(place, storage_options=delta_options(options) if options else None)
        return table.to_pyarrow_dataset(), table.version()
    except (DeltaError, OSError, ValueError) as fault:
        raise BadRequest(
            "this Delta table cannot be read",
            where=place,
            got=" ".join(str(fault).split()),
            hint="its newest version has to be one that `deltalake` reads; else export it, or give "
            "`--query`",
        ) from fault
