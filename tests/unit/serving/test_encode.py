"""Answers as bytes."""

from __future__ import annotations

import orjson

from tegula.schemas.errors import UnknownService
from tegula.schemas.outcomes import Status
from tegula.serving.encode import encode_error, encode_reply
from tegula.serving.plan import FeaturePlan
from tegula.serving.read import Reply
from tegula.windows.tiles import NEVER_US

PLAN = FeaturePlan(("v:n", "v:at"), (), (), (), ("v:at",), frozenset())
TRACE = "ab" * 16


def encoded(reply: Reply, *include: str) -> dict[str, object]:
    return dict(orjson.loads(encode_reply(reply, PLAN, frozenset(include), TRACE)))


def test_answer_has_values_and_a_trace_id_and_no_status_where_all_is_present():
    reply = Reply({"v:n": [1, 2], "v:at": [0, None]}, {"v:n": [0, 0]})
    assert encoded(reply) == {
        "values": {"v:n": [1, 2], "v:at": ["1970-01-01T00:00:00Z", None]},
        "trace_id": TRACE,
    }


def test_instants_in_lists_are_text_too():
    reply = Reply({"v:n": [[1, 2], None], "v:at": [[0, 1_000_000], None]}, {})
    listed = [["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"], None]
    assert encoded(reply)["values"] == {"v:n": [[1, 2], None], "v:at": listed}


def test_maps_are_objects_and_instants_in_them_are_text_too():
    reply = Reply({"v:n": [{"a": 1, "__other__": 2}], "v:at": [{"a": 0, "b": None}]}, {})
    assert encoded(reply)["values"] == {
        "v:n": [{"a": 1, "__other__": 2}],
        "v:at": [{"a": "1970-01-01T00:00:00Z", "b": None}],
    }


def test_answer_names_statuses_of_features_of_which_some_value_is_not_present():
    statuses = {"v:n": [0, Status.STALE], "v:at": [0, 0]}
    reply = Reply({"v:n": [1, 2], "v:at": [0, 0]}, dict(statuses))
    assert encoded(reply)["status"] == {"v:n": ["PRESENT", "STALE"]}
    reply = Reply({"v:n": [1, 2], "v:at": [0, 0]}, dict(statuses))
    everything = {"v:n": ["PRESENT", "STALE"], "v:at": ["PRESENT", "PRESENT"]}
    assert encoded(reply, "status")["status"] == everything


def test_answer_includes_event_times_and_bounds_where_they_were_asked_for():
    reply = Reply({"v:n": [1], "v:at": [0]}, {}, {"v": [None]}, {"v:n": ([NEVER_US], [1])})
    answer = encoded(reply, "event_time", "bounds")
    assert answer["event_time"] == {"v": [None]}
    assert answer["bounds"] == {"v:n": [[None, "1970-01-01T00:00:00.000001Z"]]}


def test_error_answer_has_the_fields_of_the_error_and_the_trace_id():
    error = UnknownService(service="fruad", known=["fraud"])
    answer = orjson.loads(encode_error(error, TRACE))
    assert answer == {"error": error.as_dict(), "trace_id": TRACE}


def test_null_in_a_list_of_instants_stays_null():
    reply = Reply({"v:n": [[1, 2]], "v:at": [[0, None]]}, {})
    values = encoded(reply)["values"]
    assert values == {"v:n": [[1, 2]], "v:at": [["1970-01-01T00:00:00Z", None]]}
