"""4xx, from 420: training sets that cannot be made as they were asked for."""

from __future__ import annotations

from .requests import RequestError


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
