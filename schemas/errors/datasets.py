"""4xx, from 420: training sets that cannot be made as they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .requests import RequestError

_SHOWN_MAX: Final = 5


class BadSpine(RequestError):
    """A spine that has no row for every instant: a column, a type or a row of it is wrong."""

    code = "TG-420"
    http_status = 422


class BadDataset(RequestError):
    """A training set that was asked for in a way that has no meaning."""

    code = "TG-421"
    http_status = 422


class DatasetExists(RequestError):
    """There is something in the folder that a training set was to be written to."""

    code = "TG-422"
    http_status = 409

    def __init__(self, *, where: str) -> None:
        super().__init__(
            "there is something here already",
            where=where,
            expected="a folder that is not there, or is empty",
            hint="name another folder, or say that it is to be replaced (--replace)",
        )


class DatasetMissing(RequestError):
    """There is no training set of that name, or no manifest in its folder."""

    code = "TG-423"
    http_status = 404

    def __init__(self, *, where: str) -> None:
        super().__init__(
            "there is no training set here",
            where=where,
            expected="a folder that `tegula dataset build` made, or its manifest.json",
        )


class NothingServed(RequestError):
    """There are no answers, in a served log, that a training set could be made of."""

    code = "TG-426"
    http_status = 422

    def __init__(
        self, *, features: Sequence[str], service: str | None, known: Sequence[str]
    ) -> None:
        shown = ", ".join(features[:_SHOWN_MAX]) + (", …" if len(features) > _SHOWN_MAX else "")
        super().__init__(
            "the served log has no answers with these features",
            where=shown if service is None else f"service {service!r}, {shown}",
            got=f"served logs of {', '.join(known)}" if known else "no served log",
            expected="a service that has answered, and whose answers are kept",
            hint="set `served_share`; `served_interval_s` later answers are in the log",
        )


class DatasetsOff(RequestError):
    """Training sets cannot be asked for over HTTP here."""

    code = "TG-424"
    http_status = 403

    def __init__(self) -> None:
        super().__init__(
            "training sets are not made over HTTP here",
            where="setting datasets_max",
            got="0",
            hint="set how many may be made at a time, or use `tegula dataset build`",
        )


class DatasetsBusy(RequestError):
    """As many training sets are being made as are allowed at a time."""

    code = "TG-425"
    http_status = 503
    retryable = True

    def __init__(self, *, running: int, limit: int) -> None:
        super().__init__(
            "as many training sets are being made as may be at a time",
            where="setting datasets_max",
            got=str(running),
            expected=f"less than {limit}",
            hint="ask again when one of them is done",
        )
