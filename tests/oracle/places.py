"""Where and when the stories of the stream oracle are told: clocks that do something odd."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A zone, and an instant some hours before its clocks do something odd."""

    zone: str
    start: str


PLACES = (
    Place("UTC", "2024-01-01T00:00"),
    Place("Europe/Berlin", "2023-12-31T20:00"),  # a year begins, also by its clocks
    Place("Europe/Berlin", "2024-03-30T21:00"),  # a day of 23 hours
    Place("America/New_York", "2024-11-02T22:00"),  # a day of 25 hours
    Place("Asia/Kathmandu", "2024-02-29T12:00"),  # 5 h 45 m ahead
    Place("Australia/Lord_Howe", "2024-04-06T10:00"),  # half an hour back
    Place("America/Sao_Paulo", "2018-11-03T22:00"),  # no midnight
    Place("America/St_Johns", "2010-11-06T22:00"),  # back over midnight, at 00:01
    Place("Pacific/Apia", "2011-12-30T04:00"),  # no 30 December
)
