"""The shapes of requests and answers, as the OpenAPI page shows them.

For documentation alone: requests are checked by `protocol` and `events`, whose errors say more than
a schema can, and answers are encoded by `encode`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class FeaturesRequest(BaseModel):
    """Which features, of which keys, at which instant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"service": "fraud", "keys": {"card_id": ["c1", "c2"]}},
                {
                    "features": ["spend:spent_1h"],
                    "keys": {"card_id": ["c1"]},
                    "as_of": "2024-05-01T12:00:00Z",
                    "include": ["status", "event_time", "bounds"],
                },
            ]
        },
    )

    service: str | None = Field(None, description="A feature service: `name`, or `name@version`.")
    features: list[str] | None = Field(
        None, description="Features as `view:feature`, where no service is named."
    )
    keys: dict[str, list[Any]] = Field(
        description="Key columns, all of one length; row i of the answer is row i of the keys."
    )
    request: dict[str, list[Any]] | None = Field(
        None, description="Request values, one a key; reserved for derived features."
    )
    as_of: str | int | None = Field(
        None, description="The instant to read at, RFC 3339 or µs since 1970; now, without it."
    )
    include: list[str] | None = Field(
        None, description="More to answer: `status`, `event_time`, `bounds`."
    )
    after: str | None = Field(
        None, description="A receipt: wait until the pushed events can be read."
    )
    max_age: str | None = Field(
        None, description="Values that rest on older events are marked `STALE`; such as `10m`."
    )


class DatasetRequest(BaseModel):
    """A training set: which features, of which rows."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "fraud-2024-05",
                    "features": ["fraud"],
                    "spine": {"card_id": ["c1"], "at": ["2024-05-01T12:00:00Z"], "is_fraud": [1]},
                    "labels": {"is_fraud": "30d"},
                }
            ]
        },
    )

    name: str = Field(description="A new name, by which its status is asked for.")
    features: list[str] = Field(description="Services, views, or features as `view:feature`.")
    spine: dict[str, list[Any]] = Field(
        description="Columns of one length: keys, instants, and whatever is to be kept."
    )
    at: str = Field("at", description="The spine's column of instants.")
    clock: str = Field("event", description="`event`, `known` or `served`.")
    landing_delay: str = Field("0s", description="By `known`: how long events take to land.")
    served_by: str | None = Field(
        None, description="By `served`: answers of this service alone, `fraud` or `fraud@1`."
    )
    max_age: str | None = Field(
        None, description="By `served`: the oldest that an answer may be at the instant, as `1h`."
    )
    trace: str | None = Field(
        None, description="By `served`: the spine's column with the trace id of the answer."
    )
    labels: dict[str, str] | None = Field(
        None, description="Columns or features that are known so much later, as `30d`."
    )
    keys: dict[str, str] | None = Field(
        None, description="The spine's column of a key, where their names differ."
    )
    include: list[str] | None = Field(
        None,
        description="More columns: `status`, `event_time`, `bounds`; by `served` `status`, "
        "`event_time`, `request`, `trace`.",
    )
    time_zone: str | None = Field(None, description="The zone of instants that name none.")


class DatasetAnswer(BaseModel):
    """How far a training set is."""

    id: str
    path: str
    status: str = Field(description="`running`, `done` or `failed`.")
    manifest: dict[str, Any] | None = Field(None, description="What it was made from, once done.")
    error: dict[str, Any] | None = Field(None, description="Why it failed.")


class FeaturesAnswer(BaseModel):
    """Columns of values, and what is to be known of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "values": {"spend:payments_10m": [3, 0], "spend:spent_1h": [40.5, 0.0]},
                    "status": {
                        "spend:payments_10m": ["PRESENT", "NOT_FOUND"],
                        "spend:spent_1h": ["PRESENT", "NOT_FOUND"],
                    },
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                }
            ]
        }
    )

    values: dict[str, list[Any]] = Field(description="By feature, one value a key.")
    status: dict[str, list[str]] | None = Field(
        None, description="By feature of which some value is not simply `PRESENT`, one a key."
    )
    event_time: dict[str, list[str | None]] | None = Field(
        None, description="By view: when each key's newest event before the instant happened."
    )
    bounds: dict[str, list[list[str | None]]] | None = Field(
        None, description="By feature: start and end of the event times that counted, one a key."
    )
    trace_id: str


class RejectedEvent(BaseModel):
    """A record that was refused."""

    index: int = Field(description="Its place in the request, from 0.")
    code: str
    message: str


class PushAnswer(BaseModel):
    """What became of a push; each record is judged by itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 2,
                    "receipt": "payments/1:57",
                    "rejected": [
                        {
                            "index": 1,
                            "code": "TG-202",
                            "message": 'field "amount": expected Float64, got "12"',
                        }
                    ],
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                }
            ]
        }
    )

    accepted: int
    receipt: str | None = Field(description="For `after`; null if nothing was accepted.")
    rejected: list[RejectedEvent]
    trace_id: str


class ErrorFields(BaseModel):
    """The fields that every error of Tegula has."""

    code: str
    message: str
    where: str
    got: str
    expected: str
    hint: str
    retryable: bool


class ErrorAnswer(BaseModel):
    """An answer that is an error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": "TG-402",
                        "message": "there is no feature service 'fruad'",
                        "where": "",
                        "got": "'fruad'",
                        "expected": "fraud",
                        "hint": "",
                        "retryable": False,
                    },
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                }
            ]
        }
    )

    error: ErrorFields
    trace_id: str


class LiveAnswer(BaseModel):
    """The process answers."""

    status: str = Field(examples=["live"])


class ReadyAnswer(BaseModel):
    """Whether answers can be relied on, and why not."""

    status: str = Field(examples=["ready", "not ready"])
    reasons: list[str] = Field(examples=[[]])
    notes: list[str] = Field(examples=[[]])


EVENTS_EXAMPLE = {
    "events": [{"card_id": "c1", "amount": 40.5, "at": "2024-05-01T11:58:00Z"}],
}
"""A pushed body, for the OpenAPI page."""
